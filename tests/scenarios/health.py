"""Cards that fail, heal, vanish and come back, as the node and its pods see it."""

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.node import Node, PodRejected, pod
from tests.scenarios.seen import held, shows


async def test_a_card_that_fails_is_not_allocatable_until_it_heals(node: Node) -> None:
    """Kubelet's own case 15."""
    async with Agent(node, cards=1) as agent:
        await shows(node, 1, 1)
        await agent.fake("fail", "fake-0")
        await shows(node, 1, 0)
        with pytest.raises(PodRejected) as rejection:
            await node.run_pod(pod("unlucky", npu=1))
        assert "no healthy devices present; cannot allocate unhealthy devices furiosa.ai/npu" in rejection.value.message
        await agent.fake("heal", "fake-0")
        await shows(node, 1, 1)
        await node.run_pod(pod("lucky", npu=1))


async def test_a_pod_runs_on_when_its_card_fails(node: Node) -> None:
    """Kubelet's own case 16."""
    async with Agent(node, cards=1) as agent:
        await shows(node, 1, 1)
        await node.run_pod(pod("one", npu=1))
        await agent.fake("fail", "fake-0")
        await shows(node, 1, 0)
        assert await held(node, "one") == {"fake-0"}
        await node.delete_pod("one")
        await shows(node, 1, 0)


async def test_cards_fail_and_heal_one_by_one(node: Node) -> None:
    """Kubelet's own case 17."""
    async with Agent(node, cards=4) as agent:
        await shows(node, 4, 4)
        steps = [("fail", 0, 3), ("heal", 0, 4), ("fail", 1, 3), ("fail", 2, 2), ("heal", 1, 3), ("heal", 2, 4)]
        for command, card, allocatable in steps:
            await agent.fake(command, f"fake-{card}")
            await shows(node, 4, allocatable)


async def test_a_card_whose_reads_hang_is_unhealthy_and_holds_up_no_other(node: Node) -> None:
    async with Agent(node, cards=2, probe_timeout_s=0.2) as agent:
        await shows(node, 2, 2)
        await agent.fake("hang", "fake-0")
        await shows(node, 2, 1)
        await agent.fake("fail", "fake-1")
        await shows(node, 2, 0)
        await agent.fake("heal", "fake-1")
        await shows(node, 2, 1)
        await agent.fake("heal", "fake-0")
        await shows(node, 2, 2)


async def test_a_card_that_is_pulled_out_is_forgotten_and_a_new_one_is_found(node: Node) -> None:
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        await agent.fake("remove", "fake-0")
        await shows(node, 1, 1)
        await agent.fake("add", "fake-7")
        await shows(node, 2, 2)
        await node.run_pod(pod("pair", npu=2))
        assert await held(node, "pair") == {"fake-1", "fake-7"}


async def test_a_card_that_is_pulled_out_of_a_running_pod_stays_listed_as_unhealthy(node: Node) -> None:
    async with Agent(node, cards=1) as agent:
        await shows(node, 1, 1)
        await node.run_pod(pod("one", npu=1))
        await agent.fake("remove", "fake-0")
        await shows(node, 1, 0)
        assert await held(node, "one") == {"fake-0"}
        await agent.fake("add", "fake-0")
        await shows(node, 1, 1)


async def test_what_failed_while_kubelet_was_away_is_known_when_it_is_back(node: Node) -> None:
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        await node.stop_kubelet()
        await agent.fake("fail", "fake-1")
        await agent.says("fake-1 (rngd npu1) is unhealthy")
        await node.start_kubelet()
        await shows(node, 2, 1)
        await node.run_pod(pod("one", npu=1))
        assert await held(node, "one") == {"fake-0"}
