"""NUMA nodes of devices: those that kubelet knows, those that it does not, and none. The machine has the nodes 0 and 1."""

import json
from typing import Any

import pytest

from npu_agent.api.v1beta1 import DevicePluginOptions
from tests.kubelets.node import KubeletNode
from tests.scenarios.agent import Agent
from tests.scenarios.node import Container, Pod, pod
from tests.scenarios.seen import NPU, held, shows
from tests.scenarios.versions import since
from tests.simulator.plugin import RESOURCE, Plugin


def cards(*numa_nodes: int | None) -> list[dict[str, Any]]:
    """One card for each node, "card-0" and so on; None is a card whose node the host does not know."""
    return [{"id": f"card-{number}"} | ({} if node is None else {"numa_node": node}) for number, node in enumerate(numa_nodes)]


async def test_cards_on_known_nodes_are_hinted_at(node: KubeletNode) -> None:
    async with Agent(node, cards=cards(0, 1)):
        await shows(node, 2, 2)
        assert await node.hints(NPU) == [((0,), True), ((1,), True), ((0, 1), False)]


async def test_cards_whose_node_is_unknown_to_the_host_are_not_aligned(node: KubeletNode) -> None:
    async with Agent(node, cards=cards(None, None)):
        await shows(node, 2, 2)
        assert await node.hints(NPU) == []
        await node.run_pod(pod("pair", npu=2))


async def test_one_card_with_a_node_aligns_the_whole_resource(node: KubeletNode) -> None:
    """So the card without one is hinted at nowhere, and is given last."""
    node.affinity = (0,)
    await node.stop_kubelet()
    await node.start_kubelet()
    async with Agent(node, cards=cards(None, 0)):
        await shows(node, 2, 2)
        hints = [((0,), True)] if since(node, "1.36") else [((0,), True), ((0, 1), False)]
        assert await node.hints(NPU) == hints
        await node.run_pod(pod("one", npu=1))
        assert await held(node, "one") == {"card-1"}


async def test_cards_on_a_node_that_kubelet_does_not_know_have_no_hint(node: KubeletNode) -> None:
    async with Agent(node, cards=cards(7)):
        await shows(node, 1, 1)
        assert await node.hints(NPU) == []
        # The policy "none", which is the default, gives them all the same.
        await node.run_pod(pod("one", npu=1))
        assert await held(node, "one") == {"card-0"}


async def test_a_pod_gets_the_cards_of_the_node_that_kubelet_aligned_it_to(node: KubeletNode) -> None:
    node.affinity = (1,)
    await node.stop_kubelet()
    await node.start_kubelet()
    async with Agent(node, cards=cards(0, 1, 0, 1)):
        await shows(node, 4, 4)
        await node.run_pod(pod("three", npu=3))
        assert await held(node, "three") > {"card-1", "card-3"}
        entries = json.loads((node.plugin_dir / "kubelet_internal_checkpoint").read_text())["Data"]["PodDeviceEntries"]
        assert {numa_node: len(ids) for numa_node, ids in entries[0]["DeviceIDs"].items()} == {"0": 1, "1": 2}


@pytest.mark.parametrize(
    ("count", "asked"),
    [
        (1, [(frozenset("ac"), frozenset(), 1)]),
        (2, []),
        (3, [(frozenset("abcd"), frozenset("ac"), 3)]),
    ],
    ids=["fewer", "exactly", "more"],
)
async def test_what_is_asked_when_the_aligned_devices_are(
    node: KubeletNode, count: int, asked: list[tuple[frozenset[str], frozenset[str], int]]
) -> None:
    node.affinity = (0,)
    await node.stop_kubelet()
    await node.start_kubelet()
    async with Plugin(node.plugin_dir, a=True, b=True, c=True, d=True) as plugin:
        plugin.options = DevicePluginOptions(get_preferred_allocation_available=True)
        plugin.numa = {"a": [0], "b": [1], "c": [0], "d": []}
        await plugin.register()
        await shows(node, 4, 4, resource=RESOURCE)
        await node.run_pod(Pod("some", [Container(devices={RESOURCE: count})]))
        assert plugin.preferences == asked
        assert len(await held(node, "some", resource=RESOURCE) & {"a", "c"}) == min(count, 2)
