"""grpclib's server with its connections known: closing it ends neither streams nor connections, so whoever closes must."""

import asyncio
import socket
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from grpclib.protocol import H2Protocol
from grpclib.server import Server

from npu_agent.rpc.bounds import BoundedProtocol, InFlight
from npu_agent.rpc.requests import BoundedCodec

if TYPE_CHECKING:
    from grpclib._typing import IServable

MOST_CONNECTIONS = 32
"""Connections of one server at a time. kubelet has one, and each `npu-agent list --watch` one."""


class KnownServer(Server):
    """A server of `handlers` that knows its connections. `on_change` is called whenever one comes or goes."""

    def __init__(self, handlers: Collection["IServable"], on_change: Callable[[], None] = lambda: None) -> None:
        super().__init__(handlers, codec=BoundedCodec())
        self.in_flight = InFlight()
        self.connections = 0
        """Connections that are begun, also those that have no transport yet."""
        self.transports: set[asyncio.Transport] = set()
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._end: Callable[[asyncio.Transport], None] | None = None

    def connection(self) -> H2Protocol:
        """Return the protocol of a new connection."""
        plain = super()._protocol_factory()
        self.connections += 1
        return _Connection(plain, self)

    def _protocol_factory(self) -> H2Protocol:  # what `start` listens with
        return self.connection()

    def opened(self, transport: asyncio.Transport) -> None:
        self.transports.add(transport)
        if self._end is not None:
            self._end(transport)
        elif len(self.transports) > MOST_CONNECTIONS:
            transport.abort()
        self._ring()

    def closed(self, transport: asyncio.Transport | None) -> None:
        self.connections -= 1
        if transport is not None:
            self.transports.discard(transport)
        # grpclib would keep what a connection leaves until ten more have come.
        asyncio.get_running_loop().call_soon(self.__gc_collect__)
        self._ring()

    def close_connections(self) -> None:
        """Write what is left to all connections and close them, those that are begun and have no transport yet too."""
        self._end_with(lambda transport: transport.close())

    def abort_connections(self) -> None:
        """Cut all connections without a word, those that are begun and have no transport yet too."""
        self._end_with(lambda transport: transport.abort())

    def _end_with(self, end: Callable[[asyncio.Transport], None]) -> None:
        self._end = end
        for transport in list(self.transports):
            end(transport)

    async def all_ended(self) -> None:
        """Return when there is no connection."""
        while self.connections:
            await self.change()

    async def change(self) -> None:
        """Return when a connection has come or gone."""
        await self._changed.wait()

    def _ring(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        self._on_change()


async def accept_no_more(listening: Iterable[socket.socket]) -> None:
    """Take no more connections on sockets whose asyncio servers are closed next.

    asyncio loses a connection that it accepted in the same turn of its loop in which the server is closed.
    """
    for one in listening:
        asyncio.get_running_loop().remove_reader(one)
    await asyncio.sleep(0)


class _Connection(BoundedProtocol):
    def __init__(self, plain: H2Protocol, server: KnownServer) -> None:
        super().__init__(plain.handler, plain.config, plain.h2_config, in_flight=server.in_flight)
        self._server = server
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        super().connection_made(transport)
        self._server.opened(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self._server.closed(self._transport)
