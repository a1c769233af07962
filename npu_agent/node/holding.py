"""Who holds what, asked of kubelet when it matters, and what follows: what a pod may still hold, which vanished cards are forgotten."""

from collections.abc import Awaitable, Callable

import anyio

from npu_agent.core import inventory as tracking
from npu_agent.core.state import Holders
from npu_agent.node.memory import Memory, held_accelerators
from npu_agent.node.writer import StateWriter

AGAIN_S = 1.0
"""Seconds between two questions to kubelet while something waits for its answer: a vanished card, a device that is withheld."""

SELDOM_S = 60.0
"""Seconds between two questions while nothing does."""

Ask = Callable[[], Awaitable[tuple[Holders | None, str]]]
"""Asks kubelet who holds what; None with the reason where it cannot be asked. It answers within a bounded time."""


class Holding:
    """Keeps the memory of allocations and the list of vanished cards in step with what kubelet says."""

    def __init__(self, ask: Ask, memory: Memory, writer: StateWriter, *, linger_s: float, merge: Callable[[], None]) -> None:
        self._ask = ask
        self._memory = memory
        self._writer = writer
        self._linger_s = linger_s
        self._merge = merge
        self._asking = anyio.Lock()
        self._rung = anyio.Event()

    async def run(self) -> None:
        """Ask for as long as it runs."""
        while True:
            self._rung = anyio.Event()
            if self._matters():
                await self.look()
                with anyio.move_on_after(AGAIN_S):
                    await self._rung.wait()
            else:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._until_it_matters, tasks.cancel_scope)
                    with anyio.move_on_after(SELDOM_S):
                        await self._rung.wait()
                    tasks.cancel_scope.cancel()
                if not self._matters():
                    await self.look()

    async def look(self) -> None:
        """Ask once, and publish what follows."""
        async with self._asking:
            holders, problem = await self._ask()
            now = self._writer.clock()
            self._memory.hear(holders, self._writer.publish(), now)
            self._writer.put_holders(holders, problem)
            self._writer.put_allocations(self._memory.live)
            self._forget(holders)
            await self._memory.save()

    def kubelet_changed(self) -> None:
        """Note that kubelet has started anew: it may not know its pods yet."""
        self._memory.kubelet_changed()
        self._rung.set()

    def _forget(self, holders: Holders | None) -> None:
        before = self._writer.inventory
        held = None if holders is None else held_accelerators(live for live in self._memory.live if live.key in holders)
        after = tracking.forget(before, held, now=self._writer.clock(), linger_s=self._linger_s)
        if after is not before:
            self._writer.put_inventory(after)
            # What is seen in the place of a card that is forgotten (one without a driver, one with another uuid) is taken now.
            self._merge()

    def _matters(self) -> bool:
        state = self._writer.state.value
        return (
            self._memory.wants_answer
            or any(tracked.vanished_at is not None for tracked in self._writer.inventory.values())
            or any(device.withheld for pool in state.plan.pools.values() for device in pool.devices)
        )

    async def _until_it_matters(self, scope: anyio.CancelScope) -> None:
        async for _ in self._writer.state.follow():
            if self._matters():
                scope.cancel()
                return
