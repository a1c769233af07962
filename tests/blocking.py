"""A detector of calls that block the event loop in code of the agent, by the interpreter's own audit events.

What it sees: files that are opened, sleeps, sockets that wait while they connect, processes that are started, in a thread whose loop is
running. What a stat of a local path costs is not among them: such a look is answered from memory, and whatever reads a card goes
through `npu_agent.host.bounded`.
"""

import asyncio
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

ALLOWED = {
    "npu_agent/host/private.py": "small files of the agent's own folder, which lies in memory",
    "npu_agent/host/locks.py": "locks that are never waited for, and /proc/locks",
    "npu_agent/host/reaper.py": "a name in /proc",
    "npu_agent/host/watching.py": "inotify",
    "npu_agent/cluster/access.py": "files of the service account, which lie in memory, or a kubeconfig, once an hour",
    "npu_agent/deviceplugin/comparison.py": "a name in /proc",
    "npu_agent/deviceplugin/socket.py": "sockets that do not wait",
    "npu_agent/node/making.py": "family files, read once before anything is served",
    "npu_agent/backends/registry.py": "modules that are imported once",
    "npu_agent/families/": "family files, read once before anything is served",
    "npu_agent/simulator/": "it is no part of the agent",
    "npu_agent/cli/": "a command that does one thing",
    "npu_agent/backends/fake/": "device nodes of the fake cards, made when they are entered or by a command",
}
"""Where a call that could block is meant to be, and why it does not."""

_EVENTS = frozenset({"open", "time.sleep", "socket.connect", "subprocess.Popen", "os.system"})


class _Detector:
    def __init__(self) -> None:
        self.is_on = False
        self.found: list[str] = []

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.is_on or event not in _EVENTS or asyncio._get_running_loop() is None:
            return
        if event == "socket.connect" and isinstance(arguments[0], socket.socket) and arguments[0].gettimeout() == 0:
            return
        callers = _callers(sys._getframe(1))
        if callers and not any(place in caller for caller in callers for place in ALLOWED):
            self.found.append(f"{event} {arguments[:1]!r} at {callers[0]}")


def _callers(frame: FrameType | None) -> list[str]:
    """Return the lines of the agent that led to a call, the last one first; none where it is the interpreter's or a test's own call."""
    lines: list[str] = []
    while frame is not None:
        name = frame.f_code.co_filename
        if "importlib" in name or name.endswith("linecache.py"):
            return []
        if not lines and "/tests/" in name:
            return []  # a test that stands in for something of the host
        if "/npu_agent/" in name and "/tests/" not in name and "/site-packages/" not in name:
            lines.append(f"{name[name.rindex('/npu_agent/') + 1 :]}:{frame.f_lineno}")
        frame = frame.f_back
    return lines


_detector = _Detector()
sys.addaudithook(_detector)


@contextmanager
def no_blocking_calls() -> Iterator[None]:
    """Fail with all calls of the agent that could have blocked a loop meanwhile."""
    _detector.found.clear()
    _detector.is_on = True
    try:
        yield
    finally:
        _detector.is_on = False
        found, _detector.found = _detector.found, []
    assert not found, "\n".join(["the loop could have been blocked:", *found])
