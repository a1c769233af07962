"""Reads that cannot hang the agent: in a thread, with a deadline, and never two at once on one card.

A read of sysfs is a call into the driver, and a dying card can keep it for ever. A thread cannot be ended from outside, so what hangs
is left behind: the caller goes on after the deadline, and the card is not read again before the old read has come back. So a card
holds one thread at the most, however often it is asked.

What a read takes counts from its own beginning: to wait for a thread of ours is no fault of a card. Nor is it one that this process may
not start a thread or open a file; such a shortage is raised as what it is, to those that it concerns, and is over when it is over.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from npu_agent.host.errors import ShortOfResources, is_shortage

STUCK_AFTER_S = 0.01
"""How long a read may keep those behind it waiting before they get a thread of their own, in seconds."""

T = TypeVar("T")


class ReadHangs(TimeoutError):
    """A read of a card has not come back within `timeout_s` seconds. For how long it is away is not told: it grows while one looks."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(f"a read has not come back within {timeout_s:g} s")
        self.timeout_s = timeout_s


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

        Raises ReadHangs if that takes longer than `timeout_s` seconds from its beginning, or at once while an earlier read of `key`
        has failed to come back in its time. One that still has time is waited for, within the same `timeout_s`. Raises
        ShortOfResources if no thread can be started, or the read itself met a limit of this process. Whatever else `function` raises
        is raised here.
        """
        left_s = timeout_s
        while (earlier := self._away.get(key)) is not None:
            left_s = await earlier.wait(left_s, timeout_s)
        job = self._start(key, function)
        await job.wait(left_s, timeout_s)
        if job.error is not None:
            if is_shortage(job.error):
                raise ShortOfResources.of(job.error) from job.error
            raise job.error
        return cast(T, job.result)

    def close(self) -> None:
        """End the threads: those that are idle now, the others when their read comes back. They are daemons and keep no process."""
        self._stop_watching()
        for _ in range(self._threads):
            self._jobs.put(None)
        self._threads = 0

    def _start(self, key: str, function: Callable[[], object]) -> "_Job":
        if not self._threads:
            self._add_thread()
        job = self._away[key] = _Job(key, function)
        self._jobs.put(job)
        if self._watch is None:
            self._watch = asyncio.get_running_loop().call_later(STUCK_AFTER_S, self._look)
        return job

    def _add_thread(self) -> None:
        arguments = (self._jobs, self._finished, asyncio.get_running_loop(), self._collect)
        try:
            threading.Thread(target=_work, args=arguments, name="card reader", daemon=True).start()
        except (RuntimeError, MemoryError) as error:
            raise ShortOfResources.of(error) from error
        self._threads += 1

    def _stop_watching(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _look(self) -> None:
        """Give the reads that wait behind one that is stuck a thread of their own."""
        self._watch = None
        self._collect()
        waiting = [job for job in self._away.values() if job.began is None]
        if not waiting:
            return
        now = time.monotonic()
        stuck = sum(job.began is not None and now - job.began >= STUCK_AFTER_S for job in self._away.values())
        if stuck >= self._threads:
            try:
                self._add_thread()
            except ShortOfResources as shortage:
                self._withdraw(waiting, shortage)
        self._watch = asyncio.get_running_loop().call_later(STUCK_AFTER_S, self._look)

    def _withdraw(self, waiting: "list[_Job]", shortage: ShortOfResources) -> None:
        """End the reads that no thread can be found for, so that they can be asked for again."""
        for job in waiting:
            if job.claim():
                job.error = shortage
                del self._away[job.key]
                job.returned.set()

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
    """A read that was asked for. It is overdue once somebody has waited for it in vain. `began` is None until a thread has it."""

    key: str
    function: Callable[[], object]
    returned: asyncio.Event = field(default_factory=asyncio.Event)
    began: float | None = None
    overdue: bool = False
    result: Any = None
    error: BaseException | None = None
    claimed: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Take the read, to carry it out or to withdraw it; whether nobody else has."""
        return self.claimed.acquire(blocking=False)

    async def wait(self, left_s: float, timeout_s: float) -> float:
        """Return when the read is over what is left of `left_s` seconds. Raises ReadHangs when they are over before, or at once."""
        asked = time.monotonic()
        while not self.returned.is_set():
            spent_s = 0.0 if self.began is None else time.monotonic() - max(asked, self.began)
            if self.overdue or spent_s >= left_s:
                self.overdue = True
                raise ReadHangs(timeout_s)
            try:
                async with asyncio.timeout(left_s - spent_s):
                    await self.returned.wait()
            except TimeoutError:
                continue  # it may have had to wait for a thread until now
        return left_s - (0.0 if self.began is None else time.monotonic() - max(asked, self.began))


def _work(
    jobs: "queue.SimpleQueue[_Job | None]",
    finished: "queue.SimpleQueue[_Job]",
    loop: asyncio.AbstractEventLoop,
    collect: Callable[[], None],
) -> None:
    while (job := jobs.get()) is not None:
        if job.claim():
            job.began = time.monotonic()
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
