import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from npu_agent.api.v1 import (
    AllocatableResourcesRequest,
    ContainerDevices,
    GetPodResourcesRequest,
    ListPodResourcesRequest,
    PodResourcesListerStub,
)
from npu_agent.api.v1beta1 import ContainerAllocateResponse
from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.errors import PodRejected
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.pods import Container, Pod
from tests.simulator.own_task import in_own_task
from tests.simulator.plugin import RESOURCE, Plugin, shows


@pytest.fixture
async def plugin(kubelet: SimulatedKubelet) -> AsyncIterator[Plugin]:
    async with in_own_task(Plugin(kubelet.plugin_dir, a=True, b=True, c=False)) as plugin:
        plugin.numa = {"a": [0], "b": [0, 1]}
        await plugin.register()
        await shows(kubelet, 3, 2)
        yield plugin


@pytest.fixture
async def pod_resources(kubelet: SimulatedKubelet) -> AsyncIterator[PodResourcesListerStub]:
    async with Channel(path=str(kubelet.kubelet_dir / "pod-resources" / "kubelet.sock")) as channel:
        yield PodResourcesListerStub(channel)


def rows(devices: Iterable[ContainerDevices]) -> list[tuple[str, tuple[str, ...], tuple[int, ...]]]:
    found = []
    for row in devices:
        assert row.topology is not None
        found.append((row.resource_name, tuple(row.device_ids), tuple(node.id for node in row.topology.nodes)))
    return sorted(found)


async def test_each_device_has_an_entry_for_each_of_its_numa_nodes(
    kubelet: SimulatedKubelet, plugin: Plugin, pod_resources: PodResourcesListerStub
) -> None:
    await kubelet.run_pod(Pod("one", (Container(devices={RESOURCE: 2}),), "team"))
    (listed,) = (await pod_resources.list(ListPodResourcesRequest())).pod_resources
    assert (listed.name, listed.namespace, [container.name for container in listed.containers]) == ("one", "team", ["main"])
    expected = [(RESOURCE, ("a",), (0,)), (RESOURCE, ("b",), (0,)), (RESOURCE, ("b",), (1,))]
    assert rows(listed.containers[0].devices) == expected
    allocatable = await pod_resources.get_allocatable_resources(AllocatableResourcesRequest())
    assert rows(allocatable.devices) == expected


async def test_get_answers_for_a_known_pod_and_says_so_for_an_unknown_one(
    kubelet: SimulatedKubelet, plugin: Plugin, pod_resources: PodResourcesListerStub
) -> None:
    await kubelet.run_pod(Pod("one", (Container(devices={RESOURCE: 1}),)))
    answer = await pod_resources.get(GetPodResourcesRequest(pod_name="one", pod_namespace="default"))
    assert answer.pod_resources is not None
    assert answer.pod_resources.name == "one"
    with pytest.raises(GRPCError) as refusal:
        await pod_resources.get(GetPodResourcesRequest(pod_name="nope", pod_namespace="default"))
    assert (refusal.value.status, refusal.value.message) == (Status.UNKNOWN, "pod nope in namespace default not found")


async def test_a_rejected_pod_is_not_listed(kubelet: SimulatedKubelet, plugin: Plugin, pod_resources: PodResourcesListerStub) -> None:
    with pytest.raises(PodRejected):
        await kubelet.run_pod(Pod("greedy", (Container(devices={RESOURCE: 3}),)))
    assert (await pod_resources.list(ListPodResourcesRequest())).pod_resources == []


async def test_allocatable_is_empty_as_soon_as_the_plugin_has_gone(
    kubelet: SimulatedKubelet, plugin: Plugin, pod_resources: PodResourcesListerStub
) -> None:
    plugin.devices.set(None)
    await shows(kubelet, 3, 0)
    assert (await pod_resources.get_allocatable_resources(AllocatableResourcesRequest())).devices == []


async def test_many_calls_at_once_are_rejected_by_the_rate_limit(pod_resources: PodResourcesListerStub) -> None:
    answers = await asyncio.gather(*(pod_resources.list(ListPodResourcesRequest()) for _ in range(100)), return_exceptions=True)
    refused = [(error.status, error.message) for error in answers if isinstance(error, GRPCError)]
    assert len(answers) - len(refused) >= 10
    assert set(refused) == {(Status.RESOURCE_EXHAUSTED, "rejected by rate limit")}


async def test_older_kubelets_have_no_get(short_dir: Path) -> None:
    async with in_own_task(SimulatedKubelet(short_dir, version="1.30.14")) as kubelet:
        await kubelet.start()
        async with Channel(path=str(short_dir / "pod-resources" / "kubelet.sock")) as channel:
            with pytest.raises(GRPCError, match="Get method disabled"):
                await PodResourcesListerStub(channel).get(GetPodResourcesRequest(pod_name="one", pod_namespace="default"))


async def test_the_checkpoint_has_kubelets_form(kubelet: SimulatedKubelet, plugin: Plugin) -> None:
    path = kubelet.plugin_dir / "kubelet_internal_checkpoint"
    before = json.loads(path.read_text())
    assert before["Data"]["PodDeviceEntries"] is None
    assert sorted(before["Data"]["RegisteredDevices"][RESOURCE]) == ["a", "b"]
    await kubelet.run_pod(Pod("one", (Container(devices={RESOURCE: 2}),)))
    (entry,) = json.loads(path.read_text())["Data"]["PodDeviceEntries"]
    answer = ContainerAllocateResponse.FromString(base64.b64decode(entry.pop("AllocResp")))
    assert {device.host_path for device in answer.devices} == {"/dev/a", "/dev/b"}
    assert entry == {
        "PodUID": kubelet.pod("one").uid,
        "ContainerName": "main",
        "ResourceName": RESOURCE,
        "DeviceIDs": {"0": ["a", "b"], "1": ["b"]},
    }


@pytest.mark.parametrize("content", ["", "null", '{"Data":{}}', '{"Data":{},"Checksum":1}', '{"Data":7,"Checksum":1}'])
async def test_a_checkpoint_that_cannot_be_read_is_done_without(
    kubelet: SimulatedKubelet, plugin: Plugin, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    await kubelet.stop()
    (kubelet.plugin_dir / "kubelet_internal_checkpoint").write_text(content)
    await kubelet.start()
    assert kubelet.quantities() == {RESOURCE: Quantity(0, 0)}
    assert "continuing without the checkpoint" in caplog.text
