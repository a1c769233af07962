"""What kubelet has of a resource, compared with what it was told: whether somebody else's registration has taken ours down."""

import os
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import anyio

from npu_agent.core.text import printable

SELDOM_S = 60.0
"""Seconds between two comparisons while nothing happens."""

OFTEN_S = 1.0
"""Seconds between two comparisons while a stranger serves our resource, and for a while after another socket came or went."""

OFTEN_FOR_S = 30.0
TWICE_S = 0.5
"""Seconds between the two looks that a verdict takes: kubelet may be working on a list."""

SETTLED_S = 1.0
"""Seconds after a list or a registration of ours within which kubelet may not have it yet."""

Ask = Callable[[], Awaitable[Mapping[str, frozenset[str]] | None]]
"""Asks kubelet which devices it has as healthy, by resource name; None where it cannot be asked."""


@dataclass(frozen=True, slots=True)
class Told:
    """What kubelet was told: the ids of the healthy devices, those of all devices, our socket's name, and when (monotonic seconds)."""

    healthy: frozenset[str]
    known: frozenset[str]
    socket: str
    at: float


class Verdict(Enum):
    """What kubelet has."""

    AS_TOLD = "as told"
    LOST = "lost"
    """Our registration is gone although our stream is up: whoever took it down has left."""
    STRANGER = "stranger"
    """Somebody else serves our resource."""


def judge(told: Told, allocatable: frozenset[str], *, others: bool) -> Verdict:
    """Return what it means that kubelet has `allocatable`; `others` says whether a socket came after ours and is listened on."""
    if allocatable == told.healthy:
        return Verdict.AS_TOLD
    return Verdict.STRANGER if others and allocatable - told.known else Verdict.LOST


class Comparison:
    """Compares for as long as it runs. `told` returns what kubelet was told, None while it need not have anything of ours.

    `found` is called with each verdict, and the stranger as people are told of him.
    """

    def __init__(
        self, resource: str, folder: Path, ask: Ask, told: Callable[[], Told | None], found: Callable[[Verdict, str], None]
    ) -> None:
        self._resource = resource
        self._folder = folder
        self._ask = ask
        self._told = told
        self._found = found
        self._rung = anyio.Event()
        self._sockets = _sockets(folder)
        self._mine = {"kubelet.sock"}
        self._often_until = 0.0

    def made(self, socket: str) -> None:
        """Note that a socket of this name is ours: that it comes and goes is no news."""
        self._mine.add(socket)

    def ring(self) -> None:
        """Look whether a socket of somebody else came or went in kubelet's folder."""
        sockets = _sockets(self._folder)
        changed = {name for name, _ in sockets.items() ^ self._sockets.items()} - self._mine
        self._sockets = sockets
        self._mine.intersection_update({"kubelet.sock", *sockets})
        if changed:
            self._often_until = time.monotonic() + OFTEN_FOR_S
            self._rung.set()

    async def run(self) -> None:
        """Compare soon after another socket came or went, and now and then."""
        verdict = Verdict.AS_TOLD
        while True:
            self._rung = anyio.Event()
            often = verdict is not Verdict.AS_TOLD or time.monotonic() < self._often_until
            with anyio.move_on_after(OFTEN_S if often else SELDOM_S):
                await self._rung.wait()
            if (seen := await self._look_twice()) is not None:
                verdict = seen

    async def _look_twice(self) -> Verdict | None:
        """Return what two looks in a row say, None if they cannot tell."""
        told = self._told()
        if told is None or time.monotonic() - told.at < SETTLED_S:
            return None
        for again in (True, False):
            answer = await self._ask()
            if answer is None or self._told() != told:
                return None
            allocatable = answer.get(self._resource, frozenset())
            others = self._listening_since(told.socket)
            verdict = judge(told, allocatable, others=bool(others))
            if verdict is Verdict.AS_TOLD:
                break
            if again:
                await anyio.sleep(TWICE_S)
        self._found(verdict, ", ".join(others) if verdict is Verdict.STRANGER else "")
        return verdict

    def _listening_since(self, own: str) -> list[str]:
        """Return the sockets that are younger than ours and that somebody listens on, each with its process."""
        sockets = _sockets(self._folder)
        born = sockets.get(own, 0)
        names = sorted(name for name, changed_ns in sockets.items() if name not in (own, "kubelet.sock") and changed_ns >= born)
        return [f"{printable(name)} ({process})" for name in names if (process := _listener(self._folder / name))]


def _sockets(folder: Path) -> dict[str, int]:
    """Return the entries of a folder that are called as sockets, with the time of their last change."""
    found: dict[str, int] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(".sock"):
                    found[entry.name] = entry.stat(follow_symlinks=False).st_ctime_ns
    except OSError:
        return found
    return found


def _listener(path: Path) -> str:
    """Return the process that listens on a socket, empty if nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
            process, _, _ = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
        except BlockingIOError:
            return "a process that accepts no connections"
        except OSError:
            return ""
    try:
        command = Path(f"/proc/{process}/comm").read_text().strip()
    except (OSError, UnicodeDecodeError):
        return f"process {process}" if process else "a process of another namespace"
    return f"process {process}, {printable(command)}"
