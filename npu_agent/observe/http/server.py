"""Serving HTTP for as long as the agent runs: where it cannot be, that is a problem of the agent that lasts until it can."""

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from npu_agent.observe.http.address import Address
from npu_agent.observe.http.exchange import converse
from npu_agent.observe.http.routes import Route

MOST_CONNECTIONS = 64
"""Connections at a time. One more has the oldest of them give way: whoever holds many must not keep a probe out."""

BACKLOG = 128
AGAIN_S = 1.0
MOST_AGAIN_S = 10.0
"""Seconds until it is tried again where nothing could be listened on, doubling."""

RESOLVE_WITHIN_S = 5.0

_ABSENT = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""What a machine without IPv6 says of an address of it."""

_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

log = logging.getLogger("npu_agent")


async def serve_http(address: Address, routes: Mapping[str, Route], tell: Callable[[str], None]) -> None:
    """Serve `routes` on `address` until cancelled.

    `tell` is called with what keeps us from it, and with an empty text when it is over.
    """
    again_s = AGAIN_S
    while True:
        try:
            async with _listening(address) as sockets:
                tell("")
                served = ", ".join(str(Address(*listening.getsockname()[:2])) for listening in sockets)
                fields = {"address": served, "paths": ", ".join(routes)}
                log.info("serving %s over HTTP on %s", fields["paths"], served, extra={"event": "http_serving", "fields": fields})
                await _Server(routes, tell).run(sockets)
        except (OSError, TimeoutError) as error:
            tell(_told(address, error))
        await anyio.sleep(again_s)
        again_s = min(again_s * 2, MOST_AGAIN_S)


class _Server:
    def __init__(self, routes: Mapping[str, Route], tell: Callable[[str], None]) -> None:
        self._routes = routes
        self._tell = tell
        self._open: dict[socket.socket, anyio.CancelScope] = {}

    async def run(self, sockets: list[socket.socket]) -> None:
        async with anyio.create_task_group() as tasks:
            for listening in sockets:
                tasks.start_soon(self._accept, listening, tasks)

    async def _accept(self, listening: socket.socket, tasks: TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, _ = await loop.sock_accept(listening)
            except OSError as error:
                # What a peer or the network causes (ECONNABORTED, EPROTO) is theirs. Neither that nor a shortage ends what listens.
                if error.errno in _SHORTAGES:
                    self._tell(f"no connection can be taken: {os.strerror(error.errno)}; raise the limit of this process or of this node")
                    await anyio.sleep(AGAIN_S)
                continue
            self._tell("")
            if len(self._open) >= MOST_CONNECTIONS:
                oldest = next(iter(self._open))
                self._open.pop(oldest).cancel()
            self._open[peer] = scope = anyio.CancelScope()
            tasks.start_soon(self._serve, peer, scope)

    async def _serve(self, peer: socket.socket, scope: anyio.CancelScope) -> None:
        with peer:
            try:
                with scope:
                    await converse(peer, self._routes)
            except Exception:  # a fault of ours that a peer found must not end the agent
                log.exception("a connection over HTTP failed")
            finally:
                self._open.pop(peer, None)


@asynccontextmanager
async def _listening(address: Address) -> AsyncIterator[list[socket.socket]]:
    """Yield sockets that listen on `address`, which do not block. Raises OSError, TimeoutError."""
    async with AsyncExitStack() as stack:
        sockets: list[socket.socket] = []
        absent: OSError | None = None
        for family, host in await _hosts(address):
            try:
                dual = family is socket.AF_INET6 and host[0] == "::" and socket.has_dualstack_ipv6()
                listening = socket.create_server(host, family=family, backlog=BACKLOG, dualstack_ipv6=dual)
            except OSError as error:
                if error.errno not in _ABSENT:
                    raise
                absent = error
                continue
            listening.setblocking(False)
            sockets.append(stack.enter_context(listening))
            if not address.host:
                break  # all addresses of IPv6 are those of IPv4 too
        if not sockets:
            raise absent or OSError(errno.EADDRNOTAVAIL, "no address has that name")
        yield sockets


async def _hosts(address: Address) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    """Return the addresses that `address` means, by family. Raises OSError, TimeoutError."""
    if not address.host:
        return [(socket.AF_INET6, ("::", address.port)), (socket.AF_INET, ("0.0.0.0", address.port))]  # noqa: S104 - it was asked for
    try:  # a number is no question to a server of names
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        with anyio.fail_after(RESOLVE_WITHIN_S):
            found = await asyncio.get_running_loop().getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, host) for family, _, _, _, host in found))  # type: ignore[misc]


def _told(address: Address, error: Exception) -> str:
    """Return the sentence that says what keeps us from listening, and what to do."""
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return f"{address} is in use by another program; end that one, or choose another address with --http"
    if isinstance(error, socket.gaierror):
        why = error.strerror or str(error)
    elif isinstance(error, OSError) and error.errno:
        why = os.strerror(error.errno)
    else:
        why = f"{address.host} could not be looked up within {RESOLVE_WITHIN_S:g} s"
    return f"nothing can listen on {address}: {why}; choose another address with --http"
