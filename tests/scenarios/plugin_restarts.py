"""What a kubelet that starts keeps and what it removes, shown with a plugin of a few lines."""

import base64
import json

import pytest

from npu_agent.api.v1beta1 import ContainerAllocateResponse
from tests.scenarios.node import Container, Node, Pod, PodRejected, Quantity
from tests.scenarios.seen import held, shows
from tests.scenarios.versions import since
from tests.simulator.plugin import RESOURCE, Plugin

CHECKPOINT = "kubelet_internal_checkpoint"


async def test_a_starting_kubelet_removes_sockets_and_up_to_1_32_all_files(node: Node) -> None:
    folder = node.kubelet_dir / "device-plugins"
    async with Plugin(folder, a=True) as plugin:
        await plugin.register()
        await shows(node, 1, 1, resource=RESOURCE)
        (folder / "note.txt").touch()
        (folder / "folder").mkdir()
        await node.stop_kubelet()
        await node.start_kubelet()
        left = {"kubelet.sock", CHECKPOINT, "folder"} | ({"note.txt"} if since(node, "1.33") else set())
        assert {path.name for path in folder.iterdir()} == left


async def test_a_plugin_that_stays_silent_is_gone_after_a_restart_and_pods_keep_their_devices(node: Node) -> None:
    folder = node.kubelet_dir / "device-plugins"
    async with Plugin(folder, a=True, b=True) as plugin:
        await plugin.register()
        await shows(node, 2, 2, resource=RESOURCE)
        await node.run_pod(Pod("one", [Container(devices={RESOURCE: 1})]))
        before = await held(node, "one", resource=RESOURCE)
        await node.kill_kubelet()
        await node.start_kubelet()
        assert await node.quantity(RESOURCE) == Quantity(0, 0)
        assert await held(node, "one", resource=RESOURCE) == before
        with pytest.raises(PodRejected) as rejection:
            await node.run_pod(Pod("two", [Container(devices={RESOURCE: 1})]))
        assert f"no healthy devices present; cannot allocate unhealthy devices {RESOURCE}" in rejection.value.message
    async with Plugin(folder, "again.sock", a=True, b=True) as plugin:
        await plugin.register()
        await shows(node, 2, 2, resource=RESOURCE)
        await node.run_pod(Pod("three", [Container(devices={RESOURCE: 1})]))
        assert await held(node, "three", resource=RESOURCE) == {"a", "b"} - before


async def test_the_answer_for_a_container_is_kept_and_not_asked_for_again(node: Node) -> None:
    folder = node.kubelet_dir / "device-plugins"
    async with Plugin(folder, a=True, b=True) as plugin:
        await plugin.register()
        await shows(node, 2, 2, resource=RESOURCE)
        await node.run_pod(Pod("one", [Container(devices={RESOURCE: 1})]))
        (device,) = await held(node, "one", resource=RESOURCE)
        await node.stop_kubelet()
        await node.start_kubelet()
        assert list((await node.allocations("one"))["main"]) == [f"/dev/{device}"]
        await node.restart_containers("one")
        assert plugin.calls_of("allocate") == [(device,)]


async def test_the_checkpoint_has_devices_by_numa_node_and_the_answer_as_sent(node: Node) -> None:
    folder = node.kubelet_dir / "device-plugins"
    async with Plugin(folder, a=True) as plugin:
        await plugin.register()
        await shows(node, 1, 1, resource=RESOURCE)
        await node.run_pod(Pod("one", [Container(devices={RESOURCE: 1})]))
        data = json.loads((folder / CHECKPOINT).read_text())["Data"]
        (entry,) = data["PodDeviceEntries"]
        assert (entry["ContainerName"], entry["ResourceName"], entry["DeviceIDs"]) == ("main", RESOURCE, {"-1": ["a"]})
        answer = ContainerAllocateResponse.parse(base64.b64decode(entry["AllocResp"]))
        assert [(node.host_path, node.permissions) for node in answer.devices] == [("/dev/a", "rw")]
        assert data["RegisteredDevices"] == {RESOURCE: ["a"]}
