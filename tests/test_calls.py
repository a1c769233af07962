import asyncio
from pathlib import Path

import anyio
import pytest
from grpclib.client import Channel
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import H2Protocol
from grpclib.server import Server

from npu_agent.api.v1 import ListPodResourcesRequest, ListPodResourcesResponse, PodResourcesListerBase, PodResourcesListerStub
from npu_agent.calls import call


class Silent(PodResourcesListerBase):
    def __init__(self) -> None:
        self.asked = asyncio.Event()

    async def list(self, message: ListPodResourcesRequest) -> ListPodResourcesResponse:
        self.asked.set()
        await anyio.sleep_forever()
        return ListPodResourcesResponse()


async def test_a_call_that_grpclib_ends_leaves_the_task_of_its_caller_uncancelled(tmp_path: Path) -> None:
    silent = Silent()
    server = Server([silent])
    await server.start(path=str(tmp_path / "socket"))
    channel = Channel(path=str(tmp_path / "socket"))
    try:
        with pytest.raises(TimeoutError):
            await call(PodResourcesListerStub(channel).list(ListPodResourcesRequest(), timeout=0.02))
    finally:
        channel.close()
        server.close()
        await server.wait_closed()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    with anyio.move_on_after(0.01) as scope:  # a scope of ours still tells its own end from one that comes from outside
        await anyio.sleep_forever()
    assert scope.cancelled_caught


class BrittleChannel(Channel):
    """Loses each connection in the moment in which it is made, as one to a kubelet that is killed may."""

    async def _create_connection(self) -> H2Protocol:
        protocol = await super()._create_connection()
        protocol.processor.close("Connection lost")
        return protocol


async def test_a_connection_that_breaks_before_the_request_is_lost_like_any_other(tmp_path: Path) -> None:
    server = Server([Silent()])
    await server.start(path=str(tmp_path / "socket"))
    channel = BrittleChannel(path=str(tmp_path / "socket"))
    try:
        with pytest.raises(StreamTerminatedError):
            await call(PodResourcesListerStub(channel).list(ListPodResourcesRequest()))
    finally:
        channel.close()
        server.close()
        await server.wait_closed()
