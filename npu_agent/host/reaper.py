"""The duty of process 1 of a container: to wait for the processes that nobody else waits for.

The kernel gives the children of a process that ends to process 1, as children of its first thread. When they end, each keeps a process
number until somebody waits for it, and a container may have few. Nothing tells a child that was given to us from one that we started,
whose exit status is for whoever started it. That one takes it at once: what nobody has taken for a while, nobody will.
"""

import contextlib
import logging
import os
import signal

import anyio

AWAITED_WITHIN_S = 1.0
"""Seconds after its end within which whoever started a process has waited for it."""

_WITHOUT_WAITING = os.WEXITED | os.WNOHANG | os.WNOWAIT

log = logging.getLogger(__name__)


async def reap_orphans(*, awaited_within_s: float = AWAITED_WITHIN_S) -> None:
    """Wait for the children of this thread that have ended and that nobody else waits for; never return. For the first thread.

    It needs no thread and opens no file while it runs: what it looks after may have used up all of them.
    """
    try:
        children = os.open(f"/proc/self/task/{os.getpid()}/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        log.warning("%s cannot be read: %s; processes that end in this container stay as zombies", error.filename, error.strerror)
        await anyio.sleep_forever()
    try:
        with anyio.open_signal_receiver(signal.SIGCHLD) as ends:
            await _reap(children, awaited_within_s)  # what ended before the agent was there
            async for _ in ends:
                await _reap(children, awaited_within_s)
    finally:
        os.close(children)


async def _reap(children: int, awaited_within_s: float) -> None:
    """Wait for what has ended by now, once it has had its time, and for what ends meanwhile."""
    seen: set[int] = set()
    while True:
        ended = _ended(children)
        for process in ended & seen:
            log.debug("process %d ended and nobody waited for it", process)
            _let_go(process)
        seen = ended - seen
        await anyio.sleep(awaited_within_s)
        if not seen:
            return


def _ended(children: int) -> set[int]:
    """Return those of the children that have ended and that nobody has waited for yet."""
    text = b""
    while more := os.pread(children, 65536, len(text)):
        text += more
    return {process for process in map(int, text.split()) if _has_ended(process)}


def _has_ended(process: int) -> bool:
    try:
        return os.waitid(os.P_PID, process, _WITHOUT_WAITING) is not None
    except ChildProcessError:  # somebody has waited for it in this moment
        return False


def _let_go(process: int) -> None:
    with contextlib.suppress(ChildProcessError):  # somebody has waited for it after all
        os.waitpid(process, os.WNOHANG)
