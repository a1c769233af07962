"""Others with sockets in kubelet's folder: who came after our registration, who is still there, and who they are."""

import asyncio
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from npu_agent.core.text import printable
from npu_agent.deviceplugin.folder import SocketFile, sockets_in

_CREDENTIALS = struct.Struct("3i")
"""What SO_PEERCRED says of who listens: process, user, group."""


@dataclass(slots=True)
class _Newcomer:
    """Somebody who came. `connection` is open for as long as he lives, None where there is none; `process` is 0 where not known."""

    connection: socket.socket | None = None
    process: int = 0
    answers: bool = False


@dataclass(slots=True)
class Neighbours:
    """The sockets in `folder` that are not kubelet's nor this process's own, which `is_ours` tells by their names.

    `changed` is called when one has come or gone. A process that is killed leaves its file behind, so a connection to each newcomer
    is held, on which nothing is sent: its end is seen at once.
    """

    folder: Path
    is_ours: Callable[[str], bool]
    changed: Callable[[], None]
    left: bool = False
    """Whether one that came since `settle` has gone."""
    _old: frozenset[SocketFile] = frozenset()
    _newcomers: dict[SocketFile, _Newcomer] = field(default_factory=dict)

    def settle(self) -> None:
        """Take all who are there for old: whoever registers from now on comes after us."""
        self.close()
        there = self._there()
        self._old = self._old if there is None else there
        self.left = False

    def close(self) -> None:
        """Let go of all connections."""
        for newcomer in self._newcomers.values():
            self._disconnect(newcomer)
        self._newcomers.clear()

    def look(self) -> None:
        """See who has come or gone."""
        there = self._there()
        if there is None:
            return
        gone = self._newcomers.keys() - there
        came = there - self._old - self._newcomers.keys()
        has_changed = bool(gone or came or self._old - there)
        self._old &= there
        for file in gone:
            self._leave(self._newcomers.pop(file))
        for file in came:
            self._newcomers[file] = _Newcomer()
        for file, newcomer in self._newcomers.items():
            if newcomer.connection is None:
                self._connect(file, newcomer)
        if has_changed:
            self.changed()

    async def living(self) -> list[str]:
        """Return the newcomers that somebody serves, as people are told of them, oldest name first."""
        served = sorted((file.name, newcomer.process) for file, newcomer in self._newcomers.items() if newcomer.answers)
        return [printable(name, 80) + await _process(process) for name, process in served]

    def _there(self) -> frozenset[SocketFile] | None:
        there = sockets_in(self.folder)
        return None if there is None else frozenset(file for file in there if not self.is_ours(file.name))

    def _connect(self, file: SocketFile, newcomer: _Newcomer, *, hold: bool = True) -> None:
        answered = newcomer.answers
        try:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:  # a shortage of our own says nothing of others
            return
        try:
            connection.connect(str(self.folder / file.name))
            newcomer.process = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
            newcomer.answers = True
        except OSError as error:
            # A full queue, or rights that we lack, say that somebody may listen; it is looked at again.
            newcomer.answers, hold = isinstance(error, BlockingIOError | PermissionError), False
        if hold:
            newcomer.connection = connection
            asyncio.get_running_loop().add_reader(connection, self._read, file, newcomer)
        else:
            connection.close()
        if answered != newcomer.answers:
            self.left = self.left or answered
            self.changed()

    def _read(self, file: SocketFile, newcomer: _Newcomer) -> None:
        """Drop what a server says of its own; at the end see whether it ended, or only the connection."""
        assert newcomer.connection is not None
        try:
            if newcomer.connection.recv(1 << 16):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._disconnect(newcomer)
        # One that closes each connection at once is asked again with the next look and not before.
        self._connect(file, newcomer, hold=False)

    def _leave(self, newcomer: _Newcomer) -> None:
        self._disconnect(newcomer)
        self.left = True

    def _disconnect(self, newcomer: _Newcomer) -> None:
        if newcomer.connection is not None:
            asyncio.get_running_loop().remove_reader(newcomer.connection)
            newcomer.connection.close()
            newcomer.connection = None


async def _process(number: int) -> str:
    """Return who a process is, as an addition to the name of its socket; nothing for one that we cannot see (hostPID)."""
    if not number:
        return ""
    try:
        name = await anyio.Path(f"/proc/{number}/comm").read_bytes()
    except (OSError, RuntimeError):  # it has gone, or there is no thread to look with
        return f" of process {number}"
    return f" of process {number} ({printable(name[:64].decode(errors='replace').strip(), 40)})"
