"""A Unix socket that kubelet listens on: it can be left behind stale and its connections can be cut."""

import asyncio
import socket
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from grpclib.protocol import H2Protocol
from grpclib.server import Server

if TYPE_CHECKING:
    from grpclib._typing import IServable


class Listener:
    """A gRPC server on a socket file, which ends as a process does: at once, and without removing the file."""

    def __init__(self, path: Path, handlers: Collection["IServable"]) -> None:
        self.path = path
        self._server = _Server(handlers)
        self._socket: socket.socket | None = None

    def bind(self) -> None:
        """Make the socket file. Until `listen` whoever connects is refused."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(self.path))

    def adopt(self, listening: socket.socket) -> None:
        """Go on with the socket that `hand_over` gave, and so with the same inode, which a real kubelet may get by chance."""
        self._socket = listening
        self.path.chmod(self.path.stat().st_mode)

    async def listen(self) -> None:
        """Answer from now on."""
        assert self._socket is not None
        self._socket.setblocking(False)
        await self._server.start(sock=self._socket)

    def hand_over(self) -> socket.socket:
        """Return a second handle of the listening socket, which outlives `end`."""
        assert self._socket is not None
        return self._socket.dup()

    def cut(self) -> None:
        """Cut all connections without a word."""
        for transport in list(self._server.transports):
            transport.abort()

    async def end(self) -> None:
        """Cut all connections and stop listening. The file stays."""
        self._server.has_ended = True
        if self._socket is not None and self._server.is_started:
            # asyncio leaks what it accepted in this turn of the loop if the server is closed before the next one.
            asyncio.get_running_loop().remove_reader(self._socket)
            await asyncio.sleep(0)
            self._server.close()
            self.cut()
            await self._server.all_lost()
            await self._server.wait_closed()
        if self._socket is not None:
            self._socket.close()


class _Server(Server):
    def __init__(self, handlers: Collection["IServable"]) -> None:
        super().__init__(handlers)
        self.transports: set[asyncio.Transport] = set()
        self.has_ended = False
        """A connection that was accepted and not yet begun dies with the process too."""
        self._begun = 0
        self._lost = asyncio.Event()

    @property
    def is_started(self) -> bool:
        return self._server is not None

    def _protocol_factory(self) -> H2Protocol:
        plain = super()._protocol_factory()
        self._begun += 1
        return _Connection(plain, self)

    def lost(self, transport: asyncio.Transport | None) -> None:
        if transport is not None:
            self.transports.discard(transport)
        self._begun -= 1
        self._lost.set()

    async def all_lost(self) -> None:
        """Return when no connection is left."""
        while self._begun:
            self._lost.clear()
            await self._lost.wait()


class _Connection(H2Protocol):
    def __init__(self, plain: H2Protocol, server: _Server) -> None:
        super().__init__(plain.handler, plain.config, plain.h2_config)
        self._server = server
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._server.transports.add(transport)
        super().connection_made(transport)
        if self._server.has_ended:
            transport.abort()

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._server.lost(self._transport)
