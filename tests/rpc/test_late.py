"""A service that is made when it is called."""

from pathlib import Path

import pytest
from grpclib.client import Channel
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from npu_agent.api.v1beta1 import DevicePluginBase, DevicePluginOptions, DevicePluginStub, Empty
from npu_agent.rpc.late import LateService

OPTIONS = "/v1beta1.DevicePlugin/GetDevicePluginOptions"


class Plugin(DevicePluginBase):
    async def get_device_plugin_options(self, message: Empty) -> DevicePluginOptions:
        return DevicePluginOptions(pre_start_required=True)


async def test_a_service_is_made_at_its_first_call_and_once(short_dir: Path) -> None:
    made: list[Plugin] = []

    def make() -> Plugin:
        made.append(Plugin())
        return made[-1]

    server = Server([LateService([OPTIONS], make)])
    await server.start(path=str(short_dir / "late.sock"))
    channel = Channel(path=str(short_dir / "late.sock"))
    try:
        stub = DevicePluginStub(channel)
        with pytest.raises(GRPCError):
            await stub.list_and_watch(Empty()).__anext__()
        assert made == []  # a method that is not the service's is no call of it
        for _ in range(2):
            assert (await stub.get_device_plugin_options(Empty())).pre_start_required
        assert len(made) == 1
    finally:
        channel.close()
        server.close()
        await server.wait_closed()
