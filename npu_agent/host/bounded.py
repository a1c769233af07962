"""Reads that cannot hang the agent: in a thread, with a deadline, and never two at once on one card.

A read of sysfs is a call into the driver, and a dying card can keep it for ever. A thread cannot be ended from outside, so what hangs
is left behind: the caller goes on after the deadline, and the card is not read again before the old read has come back. So a card
holds one thread at the most, however often it is asked.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

STUCK_AFTER_S = 0.01
"""How long a read may keep those behind it waiting before they get a thread of their own, in seconds."""

T = TypeVar("T")


class ReadHangs(TimeoutError):
    """A read of a card has not come back. `hanging_s` is how long it has been away so far, in seconds."""

    def __init__(self, hanging_s: float) -> None:
        super().__init__(f"a read has not come back for {hanging_s:.1f} s")
        self.hanging_s = hanging_s


class Readers:
    """Threads that read cards. One serves all of them while they answer, which is half the cost of a thread for each.

    There is one thread more than reads that hang, at the most. All of it is for one event loop.
    """

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._finished: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._away: dict[str, _Job] = {}
        self._threads = 0
        self._watch: asyncio.TimerHandle | None = None

    async def read(self, key: str, function: Callable[[], T], *, timeout_s: float) -> T:
        """Return what `function()` returns, called in a thread.

        Raises ReadHangs if that takes longer than `timeout_s` seconds, or at once while an earlier read of `key` has failed to come
        back in its time. One that still has time is waited for, within the same `timeout_s`. Whatever `function` raises is raised here.
        """
        job: _Job | None = None
        try:
            async with asyncio.timeout(timeout_s) as deadline:
                while (job := self._away.get(key)) is not None:
                    if job.overdue:
                        raise ReadHangs(time.monotonic() - job.since)
                    await job.returned.wait()
                job = self._start(key, function)
                await job.returned.wait()
        except TimeoutError:
            if job is None or not deadline.expired():
                raise
            job.overdue = True
            raise ReadHangs(time.monotonic() - job.since) from None
        if job.error is not None:
            raise job.error
        return cast(T, job.result)

    def close(self) -> None:
        """End the threads: those that are idle now, the others when their read comes back. They are daemons and keep no process."""
        self._stop_watching()
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _start(self, key: str, function: Callable[[], object]) -> "_Job":
        job = self._away[key] = _Job(key, function, time.monotonic())
        if not self._threads:
            self._add_thread()
        self._jobs.put(job)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(STUCK_AFTER_S, self._look)
        return job

    def _add_thread(self) -> None:
        self._threads += 1
        loop = asyncio.get_running_loop()
        threading.Thread(target=_work, args=(self._jobs, self._finished, loop, self._collect), name="card reader", daemon=True).start()

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _look(self) -> None:
        """Give the reads that wait behind one that is stuck a thread of their own."""
        self._watch = None
        self._collect()
        busy = sum(job.started for job in self._away.values())
        if busy < len(self._away):
            if busy >= self._threads:
                self._add_thread()
            self._watch = asyncio.get_running_loop().call_later(STUCK_AFTER_S, self._look)

    def _collect(self) -> None:
        """Hand out what has come back."""
        while not self._finished.empty():
            job = self._finished.get_nowait()
            del self._away[job.key]
            job.returned.set()
        if not self._away:
            self._stop_watching()


@dataclass(slots=True, eq=False)
class _Job:
    """A read that was asked for. It is overdue once somebody has waited for it in vain."""

    key: str
    function: Callable[[], object]
    since: float
    returned: asyncio.Event = field(default_factory=asyncio.Event)
    started: bool = False
    overdue: bool = False
    result: Any = None
    error: BaseException | None = None


def _work(
    jobs: "queue.SimpleQueue[_Job | None]",
    finished: "queue.SimpleQueue[_Job]",
    loop: asyncio.AbstractEventLoop,
    collect: Callable[[], None],
) -> None:
    while (job := jobs.get()) is not None:
        job.started = True
        try:
            job.result = job.function()
        except BaseException as error:
            job.error = error
        finished.put(job)
        del job
        # One wake-up of the loop for all that came back in a row. If the next read is stuck, the look-out collects the ones before.
        if jobs.empty():
            try:
                loop.call_soon_threadsafe(collect)
            except RuntimeError:  # the loop has been closed while the read was away
                return
