import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from npu_agent.api.v1 import (
    ContainerDevices,
    ContainerResources,
    ListPodResourcesRequest,
    ListPodResourcesResponse,
    NumaNode,
    PodResources,
    PodResourcesListerBase,
    TopologyInfo,
)
from npu_agent.core.registration import Holder
from npu_agent.observe import podresources
from npu_agent.observe.errors import HoldersUnknown
from npu_agent.observe.podresources import PodResources as Asker


def on_node(node: int, *ids: str) -> ContainerDevices:
    return ContainerDevices(resource_name="furiosa.ai/npu", device_ids=list(ids), topology=TopologyInfo(nodes=[NumaNode(id=node)]))


class Kubelet(PodResourcesListerBase):
    async def list(self, message: ListPodResourcesRequest) -> ListPodResourcesResponse:
        containers = [
            ContainerResources(name="main", devices=[on_node(0, "a"), on_node(1, "a"), on_node(0, "b")]),
            ContainerResources(name="idle"),
        ]
        return ListPodResourcesResponse(pod_resources=[PodResources(name="trainer", namespace="research", containers=containers)])


class BusyKubelet(PodResourcesListerBase):
    async def list(self, message: ListPodResourcesRequest) -> ListPodResourcesResponse:
        raise GRPCError(Status.RESOURCE_EXHAUSTED, "rejected by rate limit")


@asynccontextmanager
async def served(kubelet: PodResourcesListerBase, path: Path) -> AsyncIterator[None]:
    server = Server([kubelet])
    await server.start(path=str(path))
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()


async def test_a_device_that_kubelet_names_once_for_each_numa_node_has_one_holder(tmp_path: Path) -> None:
    async with served(Kubelet(), tmp_path / "kubelet.sock"):
        holders = await Asker(tmp_path / "kubelet.sock").holders()
    trainer = Holder("research", "trainer", "main")
    assert holders == {("furiosa.ai/npu", "a"): (trainer,), ("furiosa.ai/npu", "b"): (trainer,)}


async def test_a_kubelet_that_refuses_is_quoted(tmp_path: Path) -> None:
    async with served(BusyKubelet(), tmp_path / "kubelet.sock"):
        with pytest.raises(HoldersUnknown, match="rejected by rate limit"):
            await Asker(tmp_path / "kubelet.sock").holders()


async def test_a_socket_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HoldersUnknown, match=r"kubelet.sock: No such file.*--pod-resources"):
        await Asker(tmp_path / "kubelet.sock").holders()


async def test_a_kubelet_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(podresources, "ANSWER_TIMEOUT_S", 0.05)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "kubelet.sock"))
        silent.listen()
        with pytest.raises(HoldersUnknown, match="did not say within"):
            await Asker(tmp_path / "kubelet.sock").holders()
