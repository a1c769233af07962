"""Channels to Unix sockets: grpclib's, with bounds on what the peer may answer."""

import errno
import os
import socket
import struct
from pathlib import Path

from grpclib.client import Channel
from grpclib.client import Handler as ClientHandler
from grpclib.protocol import H2Protocol

from npu_agent.rpc.bounds import MOST_BYTES, BoundedProtocol
from npu_agent.rpc.requests import MOST_FIELDS, BoundedCodec

_PEER = struct.Struct("3i")
"""Process, user and group of whoever listens, as they were when it began to."""


class BoundedChannel(Channel):
    """A channel to the Unix socket at `path` that takes no message of more than `most_bytes` or `most_fields`.

    What it returns is given to `calls.call` or `requests.whole`, which decode what is large beside the loop.
    With `only_own` a call raises PermissionError unless this user or root listens there.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES, most_fields: int = MOST_FIELDS, only_own: bool = False) -> None:
        super().__init__(path=str(path), codec=BoundedCodec(most_fields))
        self._most_bytes = most_bytes
        self._only_own = only_own

    async def _create_connection(self) -> H2Protocol:
        transport, protocol = await self._loop.create_unix_connection(self._protocol_factory, self._path)
        if self._only_own:
            peer = transport.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            _, user, _ = _PEER.unpack(peer)
            if user not in (0, os.geteuid()):
                transport.abort()
                raise PermissionError(errno.EPERM, f"user {user} listens there, and this is user {os.geteuid()}")
        return protocol

    def _protocol_factory(self) -> H2Protocol:
        return BoundedProtocol(ClientHandler(), self._config, self._h2_config, most_bytes=self._most_bytes)
