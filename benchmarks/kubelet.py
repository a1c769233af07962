"""kubelet's side reduced to what is measured: when a registration comes, when a list comes."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from grpclib.client import Channel
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.server import Server

from npu_agent.api.v1beta1 import DevicePluginStub, Empty, ListAndWatchResponse, RegisterRequest, RegistrationBase

PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Listed:
    """A list that came, and when, in seconds of the machine's monotonic clock."""

    at: float
    message: ListAndWatchResponse


class Kubelet(RegistrationBase):
    """Takes registrations in `folder`, opens the stream of each, and notes the times. It dials and asks as kubelet does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registered: asyncio.Queue[float] = asyncio.Queue()
        self.listed: asyncio.Queue[Listed] = asyncio.Queue()
        self.endpoint = Path()
        self._server: Server | None = None
        self._channel: Channel | None = None
        self._stream: asyncio.Task[None] | None = None

    async def start(self) -> float:
        """Clean the folder as kubelet does, listen, and return when that was."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.iterdir():
            path.unlink()
        self._server = Server([self])
        await self._server.start(path=str(self.folder / "kubelet.sock"))
        return time.monotonic()

    async def stop(self) -> None:
        """End as the process does: connections break, the socket file stays."""
        await self.cut()
        if self._server is not None:
            self._server.close()
            self._server = None

    async def cut(self) -> None:
        """Lose the connection to the plugin while both sockets stay."""
        if self._channel is not None:
            self._channel.close()
        if self._stream is not None:
            self._stream.cancel()
            with suppress(asyncio.CancelledError):
                await self._stream

    async def registration(self) -> float:
        """Return when the next registration came."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.registered.get()

    async def next_list(self) -> Listed:
        """Return the next list that came."""
        async with asyncio.timeout(PATIENCE_S):
            return await self.listed.get()

    async def list_with(self, healthy: int) -> Listed:
        """Return the next list that has so many healthy devices."""
        while True:
            listed = await self.next_list()
            if sum(device.health == "Healthy" for device in listed.message.devices) == healthy:
                return listed

    async def register(self, message: RegisterRequest) -> Empty:
        """Note the time, then do what kubelet does before it answers."""
        self.registered.put_nowait(time.monotonic())
        self.endpoint = self.folder / message.endpoint
        self._channel = Channel(path=str(self.endpoint))
        plugin = DevicePluginStub(self._channel)
        await plugin.get_device_plugin_options(Empty())
        self._stream = asyncio.ensure_future(self._follow(plugin, self._channel))
        return Empty()

    async def _follow(self, plugin: DevicePluginStub, channel: Channel) -> None:
        with suppress(GRPCError, StreamTerminatedError, ConnectionError):
            async for message in plugin.list_and_watch(Empty()):
                self.listed.put_nowait(Listed(time.monotonic(), message))
        channel.close()


@asynccontextmanager
async def running_kubelet(folder: Path) -> AsyncIterator[Kubelet]:
    """Yield a kubelet that listens."""
    kubelet = Kubelet(folder)
    await kubelet.start()
    try:
        yield kubelet
    finally:
        await kubelet.stop()
