"""Connections of another process, cut from outside."""

import contextlib
import ctypes
import os
import socket
from pathlib import Path

_PIDFD_GETFD = 438  # the same number on every architecture
_libc = ctypes.CDLL(None, use_errno=True)


def connections(process_id: int) -> dict[str, int]:
    """Return the sockets that a process has open: the kernel's name of each, which is never used again, and its descriptor."""
    found = {}
    for descriptor in Path(f"/proc/{process_id}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            found[str(descriptor.readlink())] = int(descriptor.name)
    return found


def cut_connections(process_id: int, peers: Path) -> set[str]:
    """Shut down the connections that a process has to the Unix sockets of the folder `peers`; return their names.

    Neither process is told more than that the other end has gone; their listening sockets stay.
    """
    process = os.pidfd_open(process_id)
    try:
        return {name for name, descriptor in connections(process_id).items() if _cut(process, descriptor, peers)}
    finally:
        os.close(process)


def _cut(process: int, descriptor: int, peers: Path) -> bool:
    copy = _libc.syscall(_PIDFD_GETFD, process, descriptor, 0)
    if copy < 0:  # closed since we looked
        return False
    try:
        with socket.socket(fileno=copy) as connection:
            if connection.family != socket.AF_UNIX or not Path(os.fsdecode(connection.getpeername())).is_relative_to(peers):
                return False
            connection.shutdown(socket.SHUT_RDWR)
            return True
    except OSError:  # no socket, or not connected
        return False
