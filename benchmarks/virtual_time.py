"""An event loop whose clock jumps over waits, so that an hour in which nothing happens takes no time.

It jumps only while nobody `holds` it: who waits for another process lets time pass as it does outside.
"""

import asyncio
import selectors
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")

LOOK_S = 0.0005
"""How long the selector looks for what has come already, before a wait is jumped over."""


class VirtualClock(selectors.BaseSelector):
    """A selector that turns waits into jumps of the clock."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.ahead_s = 0.0
        self.held = 0

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Let time pass as it does outside."""
        self.held += 1
        try:
            yield
        finally:
            self.held -= 1

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.held or timeout is None or timeout <= LOOK_S:
            return self._real.select(timeout)
        if ready := self._real.select(LOOK_S):
            return ready
        self.ahead_s += timeout
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """The event loop of that clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._virtual = clock
        super().__init__(clock)

    def time(self) -> float:
        return super().time() + self._virtual.ahead_s


def run(coroutine: Coroutine[Any, Any, T], clock: VirtualClock) -> T:
    """Run a coroutine on a loop of `clock`."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(clock)) as runner:
        return runner.run(coroutine)
