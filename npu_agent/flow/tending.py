"""Tending what comes and goes: a mapping of what is wanted, and one guarded task for each key of it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Generic, TypeVar

import anyio

from npu_agent.flow.current import Current

K = TypeVar("K")
V = TypeVar("V")

FIRST_AGAIN_S = 0.5
MOST_AGAIN_S = 60.0


class Tending(Generic[K, V]):
    """Runs `task(key, value)` for each pair that is wanted, for as long as it is.

    When a key goes or its value changes, its task is cancelled and has ended before another one of that key starts; tasks that end
    come before tasks that start. A task that raises an Exception, or returns, is told to `failed` and started again after a while,
    which doubles up to a minute. What `failed` raises ends all of it.
    """

    def __init__(
        self, wanted: Current[Mapping[K, V]], task: Callable[[K, V], Awaitable[None]], failed: Callable[[K, Exception | None], None]
    ) -> None:
        self._wanted = wanted
        self._task = task
        self._failed = failed
        self._running: dict[K, tuple[V, anyio.CancelScope, anyio.Event]] = {}

    async def run(self) -> None:
        """Tend until cancelled; all tasks have ended when it does."""
        async with anyio.create_task_group() as tasks:
            async for wanted in self._wanted.follow():
                leaving = [key for key, (value, _, _) in self._running.items() if key not in wanted or wanted[key] != value]
                for key in leaving:
                    self._running[key][1].cancel()
                for key in leaving:
                    await self._running.pop(key)[2].wait()
                for key, value in wanted.items():
                    if key not in self._running:
                        scope, ended = anyio.CancelScope(), anyio.Event()
                        self._running[key] = (value, scope, ended)
                        tasks.start_soon(self._guarded, key, value, scope, ended)

    async def _guarded(self, key: K, value: V, scope: anyio.CancelScope, ended: anyio.Event) -> None:
        try:
            with scope:
                again_s = FIRST_AGAIN_S
                while True:
                    began = asyncio.get_running_loop().time()
                    error: Exception | None = None
                    try:
                        await self._task(key, value)
                    except Exception as raised:
                        error = raised
                    self._failed(key, error)
                    if asyncio.get_running_loop().time() - began > MOST_AGAIN_S:
                        again_s = FIRST_AGAIN_S
                    await anyio.sleep(again_s)
                    again_s = min(again_s * 2, MOST_AGAIN_S)
        finally:
            ended.set()
