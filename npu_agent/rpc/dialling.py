"""Dialling our own sockets, as whoever wants to know whether we answer there."""

import asyncio
import errno
import socket
from pathlib import Path

import anyio

FRAME_HEADER_BYTES = 9
SETTINGS = 4
"""HTTP/2 (RFC 9113, 3.4 and 4.1): the first frame of a server is its SETTINGS, and the fourth byte of a frame is its kind."""

_NOT_TAKEN = (errno.EINVAL, errno.ENOTCONN, errno.EAGAIN)
"""What a Unix socket says whose connection found no place in the queue of the one that listens."""


async def unanswered(path: Path, *, within_s: float) -> str:
    """Return why nobody of ours answers on the Unix socket at `path`, empty if somebody does within `within_s` seconds.

    A server of gRPC speaks first. So it is enough to connect, and no call is made.
    """
    loop = asyncio.get_running_loop()
    said = b""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as dialling:
        try:
            with anyio.fail_after(within_s):
                await loop.sock_connect(dialling, str(path))
                while len(said) < FRAME_HEADER_BYTES:
                    data = await loop.sock_recv(dialling, FRAME_HEADER_BYTES - len(said))
                    if not data:
                        return "the connection was closed at once"
                    said += data
        except TimeoutError:
            return f"there was no answer within {within_s:g} s"
        except OSError as error:
            return "nobody takes the connections that wait there" if error.errno in _NOT_TAKEN else (error.strerror or str(error))
    return "" if said[3] == SETTINGS else "what answers there is no gRPC server"
