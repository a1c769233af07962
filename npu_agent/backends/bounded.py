"""Reads that cannot hang the agent: each in a thread of its own card, with a deadline, and never two at once on one card.

A read of sysfs is a call into the driver, and a dying card can keep it for ever. A thread cannot be ended from outside, so what hangs
is left behind: the caller goes on after the deadline, and the card is not read again before the old read has come back. So a card
holds one thread at the most, however often it is asked.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import TypeVar, cast

T = TypeVar("T")


class ReadHangs(TimeoutError):
    """A read of a card has not come back. `hanging_s` is how long it has been away so far, in seconds."""

    def __init__(self, hanging_s: float) -> None:
        super().__init__(f"a read has not come back for {hanging_s:.1f} s")
        self.hanging_s = hanging_s


class Readers:
    """Threads that read cards, one for each key that is being read.

    Idle threads are kept for the next read, so that steady probing starts none.
    """

    def __init__(self) -> None:
        self._idle: list[_Reader] = []
        self._hanging_since: dict[str, float] = {}

    async def read(self, key: str, function: Callable[[], T], *, timeout_s: float) -> T:
        """Return what `function()` returns, called in a thread.

        Raises ReadHangs if that takes longer than `timeout_s` seconds, or at once while an earlier read of `key` is still away.
        Whatever `function` raises is raised here.
        """
        since = self._hanging_since.get(key)
        if since is not None:
            raise ReadHangs(time.monotonic() - since)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        reader = self._idle.pop() if self._idle else _Reader()
        started = time.monotonic()
        self._hanging_since[key] = started

        def finish(result: object, error: BaseException | None) -> None:
            self._hanging_since.pop(key, None)
            self._idle.append(reader)
            if done.done():  # the caller has gone on without us
                return
            if error is None:
                done.set_result(cast(T, result))
            else:
                done.set_exception(error)

        reader.jobs.put((loop, function, finish))
        try:
            async with asyncio.timeout(timeout_s):
                return await done
        except TimeoutError:
            if done.done() and not done.cancelled():
                raise
            raise ReadHangs(time.monotonic() - started) from None

    def close(self) -> None:
        """End the idle threads. One that hangs is a daemon and does not keep the process."""
        while self._idle:
            self._idle.pop().jobs.put(None)


_Job = tuple[asyncio.AbstractEventLoop, Callable[[], object], Callable[[object, BaseException | None], None]]


class _Reader(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="card reader", daemon=True)
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self.start()

    def run(self) -> None:
        while (job := self.jobs.get()) is not None:
            loop, function, finish = job
            result: object = None
            error: BaseException | None = None
            try:
                result = function()
            except BaseException as caught:
                error = caught
            try:
                loop.call_soon_threadsafe(finish, result, error)
            except RuntimeError:  # the loop has been closed while the read was away
                return
