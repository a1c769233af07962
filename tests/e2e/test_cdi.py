"""Devices by their names in CDI, on a real containerd: the container has the same as by device nodes, whatever becomes of the agent."""

import json

from tests.e2e.cards import two_cards
from tests.e2e.device_nodes import open_in_pod
from tests.e2e.node import RealNode
from tests.scenarios.node import pod
from tests.scenarios.seen import held

SPEC = "/var/run/cdi/npu-agent-furiosa.ai_npu.json"


async def nodes_of(node: RealNode, name: str) -> list[str]:
    """Return the device nodes of a pod: type, rights, owner and number, and the path."""
    status, output = await node.run_in_pod(name, "ls", "-ln", "/dev/rngd")
    assert status == 0, output
    return [" ".join((*(fields := line.split())[:6], fields[-1])) for line in output.splitlines() if "npu" in line]


async def test_a_container_has_the_same_by_nodes_by_cdi_and_by_both(node: RealNode) -> None:
    seen = {}
    for way in ("nodes", "cdi", "both"):
        async with two_cards(node, "rngd", cdi={"handover": way}) as host:
            await node.run_pod(pod(way, npu=2))
            assert await open_in_pod(node, way, *(path for card in host.cards.values() for path in card.nodes)) == ""
            seen[way] = await nodes_of(node, way)
            await node.delete_pod(way)
            await host.agent.stop()
    assert seen["nodes"] == seen["cdi"] == seen["both"]
    assert len(seen["nodes"]) == sum(len(card.nodes) for card in host.cards.values())


async def test_a_container_that_starts_again_without_the_agent_has_its_card(node: RealNode) -> None:
    async with two_cards(node, "rngd", cdi={"handover": "cdi"}) as host:
        await node.run_pod(pod("one", npu=1))
        (mine,) = await held(node, "one")
        before = await nodes_of(node, "one")
        await host.agent.stop()
        await node.restart_containers("one")
        assert await nodes_of(node, "one") == before
        status, said = await node.machine.call("cat", SPEC)
        assert status == 0, said
        assert mine in [device["name"] for device in json.loads(said)["devices"]]


async def test_the_specs_go_when_nobody_holds_anything(node: RealNode) -> None:
    async with two_cards(node, "rngd", cdi={"handover": "cdi"}) as host:
        status, _ = await node.machine.call("test", "-e", SPEC)
        assert status == 0
        await host.agent.stop()
        status, _ = await node.machine.call("test", "-e", SPEC)
        assert status == 1
