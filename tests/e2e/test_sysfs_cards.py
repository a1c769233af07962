"""Cards that the host's files describe, on a real node: from sysfs and /dev to the container, and to what people are told."""

import json

import pytest

from tests.e2e.cards import two_cards
from tests.e2e.device_nodes import make_node_in_pod, open_in_pod
from tests.e2e.node import RealNode
from tests.program import PROGRAM
from tests.scenarios.eventually import eventually
from tests.scenarios.node import PodRejected, pod
from tests.scenarios.seen import held

pytestmark = pytest.mark.parametrize("family", ["warboy", "rngd"])


async def test_a_pod_opens_all_nodes_of_its_card_and_is_refused_those_of_another(family: str, node: RealNode) -> None:
    async with two_cards(node, family) as host:
        await node.run_pod(pod("one", npu=1))
        (mine,) = await held(node, "one")
        (other,) = host.cards.keys() - {mine}
        assert set((await node.allocations("one"))["main"]) == set(host.cards[mine].nodes)
        assert await open_in_pod(node, "one", *host.cards[mine].nodes) == ""
        assert (await node.run_in_pod("one", "ls", host.cards[other].nodes[0]))[0] != 0
        await make_node_in_pod(node, "one", "/stolen", host.devices[other])
        assert "Operation not permitted" in await open_in_pod(node, "one", "/stolen")


async def test_what_a_cards_file_says_reaches_the_status_of_its_pod(family: str, node: RealNode) -> None:
    attribute, bad, good = {"warboy": ("alive", "0\n", "1\n"), "rngd": ("device_state", "1\n", "0\n")}[family]
    async with two_cards(node, family) as host:
        await node.run_pod(pod("one", npu=1))
        (mine,) = await held(node, "one")
        host.tree.set(host.cards[mine], attribute, bad)
        await eventually(lambda: node.device_health("one"), lambda seen: seen == {mine: "Unhealthy"})
        host.tree.set(host.cards[mine], attribute, good)
        await eventually(lambda: node.device_health("one"), lambda seen: seen == {mine: "Healthy"})


async def test_a_pod_whose_card_lacks_a_node_is_told_what_to_do(family: str, node: RealNode) -> None:
    async with two_cards(node, family) as host:
        missing = [card.nodes[0] for card in host.cards.values()]
        for path in missing:
            (host.tree.root / path.lstrip("/")).unlink()
        with pytest.raises(PodRejected) as rejection:
            await node.run_pod(pod("one", npu=1))
        assert rejection.value.reason == "UnexpectedAdmissionError"
        assert any(f"{path} is not on the host; load the driver or reset the card" in rejection.value.message for path in missing)


async def test_list_names_the_pod_that_holds_a_card(family: str, node: RealNode) -> None:
    async with two_cards(node, family) as host:
        await node.run_pod(pod("one", npu=1))
        (mine,) = await held(node, "one")
        status, output = await node.machine.call(PROGRAM, "list", "--runtime-dir", str(host.agent.runtime_dir), "-o", "json")
        assert status == 0, output
        held_by = {card["id"]: [device["holders"] for device in card["devices"]] for card in json.loads(output)["accelerators"]}
        (other,) = host.cards.keys() - {mine}
        assert held_by == {mine: [[{"namespace": "default", "pod": "one-node1", "container": "main"}]], other: [[]]}
