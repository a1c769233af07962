"""A device plugin of three devices, served on a socket of its own."""

import errno
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
from grpclib.client import Channel

from npu_agent.api.v1beta1 import DevicePluginStub
from npu_agent.core.accelerator import ContainerEdits, DeviceNode, Mount
from npu_agent.core.health import Health
from npu_agent.core.pool import Device, Pool
from npu_agent.deviceplugin.lists import DeviceList, device_list
from npu_agent.deviceplugin.socket import PluginSocket
from npu_agent.flow.current import Current

WELL = Health(True, "", 0.0)
POOL = Pool("furiosa.ai/npu", tuple(Device(id, id, WELL) for id in ("a", "b", "c")), pre_start=True)


class Host:
    """A host whose devices each have one node, one variable and one mount."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.hangs = False
        self.prepared: list[str] = []

    async def allocate(self, resource: str, devices: Sequence[Device]) -> ContainerEdits:
        await self._stand_by()
        nodes = tuple(DeviceNode(f"/dev/{device.id}", f"/dev/npu/{device.id}", "r") for device in devices)
        return ContainerEdits(nodes, (Mount("/opt/npu", "/usr/lib/npu"),), (("NPU", ",".join(device.id for device in devices)),))

    async def prepare(self, devices: Sequence[Device]) -> None:
        await self._stand_by()
        self.prepared += [device.id for device in devices]

    async def _stand_by(self) -> None:
        if self.hangs:
            await anyio.sleep_forever()
        if self.trouble is not None:
            raise self.trouble


class Plugin:
    def __init__(self, folder: Path) -> None:
        self.host = Host()
        self.pool = Current(POOL)
        self.lists: Current[DeviceList | None] = Current(device_list(POOL))
        self.changes = 0
        self.socket = PluginSocket(folder, self.pool, self.lists, self.host, self.count)

    def count(self) -> None:
        self.changes += 1


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Plugin, DevicePluginStub]]:
    plugin = Plugin(folder)
    await plugin.socket.start()
    channel = Channel(path=str(plugin.socket.path))
    try:
        yield plugin, DevicePluginStub(channel)
    finally:
        channel.close()
        plugin.lists.set(None)
        await plugin.socket.stop(within_s=1.0)


def denied(*arguments: object, **options: object) -> None:
    """Fail as every change does on a file system that is read-only."""
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))
