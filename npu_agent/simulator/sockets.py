"""A Unix socket that kubelet listens on: it can be left behind stale and its connections can be cut."""

import socket
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

from npu_agent.rpc.serving import KnownServer, accept_no_more

if TYPE_CHECKING:
    from grpclib._typing import IServable


class Listener:
    """A gRPC server on a socket file, which ends as a process does: at once, and without removing the file."""

    def __init__(self, path: Path, handlers: Collection["IServable"]) -> None:
        self.path = path
        self._server = KnownServer(handlers)
        self._socket: socket.socket | None = None
        self._listens = False

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
        self._listens = True

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
        if self._socket is not None and self._listens:
            self._server.abort_connections()
            await accept_no_more([self._socket])
            self._server.close()
            await self._server.all_ended()
            await self._server.wait_closed()
        if self._socket is not None:
            self._socket.close()
