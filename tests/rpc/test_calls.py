import asyncio
from pathlib import Path

import anyio
import pytest
from grpclib.client import Channel
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import H2Protocol

from npu_agent.api.v1 import ListPodResourcesRequest, PodResourcesListerStub
from npu_agent.rpc.calls import call
from tests.silent import silent


async def test_a_call_that_grpclib_ends_leaves_the_task_of_its_caller_uncancelled(tmp_path: Path) -> None:
    with silent(tmp_path / "socket"):
        async with Channel(path=str(tmp_path / "socket")) as channel:
            with pytest.raises(TimeoutError):
                await call(PodResourcesListerStub(channel).list(ListPodResourcesRequest(), timeout=0.02))
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
    with silent(tmp_path / "socket"):
        async with BrittleChannel(path=str(tmp_path / "socket")) as channel:
            with pytest.raises(StreamTerminatedError):
                await call(PodResourcesListerStub(channel).list(ListPodResourcesRequest()))
