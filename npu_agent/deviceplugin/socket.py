"""One socket of ours below kubelet's folder: a server for one registration, with its connections and streams counted."""

import asyncio
import contextlib
import itertools
import logging
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import anyio
from grpclib.exceptions import GRPCError, StreamTerminatedError

from npu_agent.api.v1beta1 import DevicePluginStub, Empty
from npu_agent.core.host import Host
from npu_agent.core.pool import Pool
from npu_agent.core.text import printable
from npu_agent.deviceplugin.errors import OwnSocketBroken
from npu_agent.deviceplugin.lists import DeviceList
from npu_agent.deviceplugin.reporting import Event, say
from npu_agent.deviceplugin.service import DevicePluginService
from npu_agent.flow.current import Current
from npu_agent.rpc.calls import call
from npu_agent.rpc.channel import BoundedChannel
from npu_agent.rpc.serving import KnownServer, accept_no_more
from npu_agent.rpc.sockets import MAX_SOCKET_PATH, bind_private

SELF_CALL_TIMEOUT_S = 2.0

CLOSE_WITHIN_S = 0.5

PREFIX = "npu-agent-"

_PROCESS = os.urandom(3).hex()
_registrations = itertools.count(1)

log = logging.getLogger(__name__)


class PluginSocket:
    """A DevicePlugin server on a socket file of its own, for one registration with kubelet.

    Each registration gets a new name: kubelet's clean-up at its start goes by names that it has read before, and newer kubelets tell
    clients apart by their sockets. `on_change` is called whenever a stream or a connection comes or goes.
    """

    def __init__(
        self, folder: Path, pool: Current[Pool], lists: Current[DeviceList | None], host: Host, on_change: Callable[[], None]
    ) -> None:
        self._resource = pool.value.resource
        self.path = folder / _file_name(self._resource)
        self.streams = 0
        """ListAndWatch streams that are up."""
        self.streams_seen = 0
        """ListAndWatch streams that were ever opened."""
        self._on_change = on_change
        self._inode: tuple[int, int] | None = None
        self._server = KnownServer([DevicePluginService(pool, lists, host, self._stream)], on_change)
        # It does not listen itself, so that a file that was removed can be made again beside the connections that live on.
        self._listening: list[tuple[socket.socket, asyncio.Server]] = []

    @property
    def connections(self) -> int:
        """Connections that are open, kubelet's among them."""
        return len(self._server.transports)

    async def start(self) -> None:
        """Listen, and call ourselves as kubelet will: a Register that fails costs the registration before it. Raises OwnSocketBroken."""
        if len(os.fsencode(self.path)) > MAX_SOCKET_PATH:
            raise OwnSocketBroken(
                f"a socket in {self.path.parent} would have a path longer than {MAX_SOCKET_PATH} bytes; use a shorter --kubelet-dir"
            )
        try:
            await self._listen()
            channel = BoundedChannel(self.path)
            try:
                await call(DevicePluginStub(channel).get_device_plugin_options(Empty(), timeout=SELF_CALL_TIMEOUT_S))
            finally:
                channel.close()
        except (OSError, GRPCError, StreamTerminatedError, TimeoutError) as error:
            raise OwnSocketBroken(f"a socket of ours in {self.path.parent} cannot be served: {_text(error)}") from error

    def is_there(self) -> bool:
        """Whether the file is still there and still ours."""
        return self._inode is not None and _inode(self.path) == self._inode

    async def restore(self) -> None:
        """Make the file again after somebody removed it. kubelet's connection lives on meanwhile and is not touched."""
        try:
            await self._listen()
        except OSError as error:
            text = f"our socket in {self.path.parent} was removed and cannot be made again: {_text(error)}"
            raise OwnSocketBroken(f"{text}; kubelet serves us until it restarts") from error

    async def _listen(self) -> None:
        listening = bind_private(self.path)
        try:
            # Cancelled half way, it would be nobody's to close; it takes no time.
            with anyio.CancelScope(shield=True):
                server = await asyncio.get_running_loop().create_unix_server(self._server.connection, sock=listening)
        except BaseException:
            listening.close()
            raise
        self._listening.append((listening, server))
        self._inode = _inode(self.path)

    async def stop(self, *, within_s: float) -> None:
        """Close the connections, once kubelet has or after `within_s` seconds, and remove the file.

        The streams must have been ended before (None in `lists`), so that their trailers are on the way: a kubelet that gets them
        knows at once, and closes the connection when it has forgotten us.
        """
        try:
            with anyio.move_on_after(within_s):
                while self._server.transports:
                    await self._server.change()
        finally:
            self._remove()
            with anyio.move_on_after(CLOSE_WITHIN_S, shield=True):
                await self._close()

    def _remove(self) -> None:
        if not self.is_there():
            return
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            text = f"our socket {self.path} stays behind: {_text(error)}; the next agent removes it"
            say(logging.WARNING, Event.SOCKET_LEFT, text, resource=self._resource)

    async def _close(self) -> None:
        await accept_no_more(listening for listening, _ in self._listening)
        for _, server in self._listening:
            server.close()
        self._server.close_connections()
        await self._server.all_ended()

    def _stream(self, change: int) -> None:
        self.streams += change
        self.streams_seen += change > 0
        self._on_change()


def remove_stale_sockets(folder: Path) -> None:
    """Remove the socket files that an agent left behind which was killed. One that somebody listens on is left alone.

    It never waits, and never fails: what cannot be removed is named once and stays.
    """
    left: list[str] = []
    why = ""
    for path in _own_sockets(folder):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
                probe.connect(str(path))
        except ConnectionRefusedError:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                left.append(path.name)
                why = _text(error)
        except OSError:
            continue  # a full queue (EAGAIN) for instance: somebody listens
    if left:
        log.warning(
            "%d sockets that an agent left behind stay in %s: %s",
            len(left),
            folder,
            why,
            extra={"event": str(Event.SOCKET_LEFT), "fields": {"sockets": len(left)}},
        )


def is_ours(name: str) -> bool:
    """Whether this process made the socket of that name."""
    return name.startswith(PREFIX) and f"-{_PROCESS}-" in name


def _own_sockets(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):  # a folder that cannot be read is told of by the link
        named = [path for path in folder.iterdir() if path.name.startswith(PREFIX) and path.name.endswith(".sock")]
        return [path for path in named if stat.S_ISSOCK(path.lstat().st_mode)]
    return []


def _file_name(resource: str) -> str:
    # Short, because the whole path must fit; readable, because people look into the folder.
    name = resource.rpartition("/")[2][:24]
    return f"{PREFIX}{name}-{_PROCESS}-{next(_registrations)}.sock"


def _text(error: BaseException) -> str:
    return printable((error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
