"""Pods and the devices that they get."""

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.node import Container, Node, Pod, PodRejected, pod
from tests.scenarios.seen import NPU, held, shows

OTHER = "example.com/card"


async def test_a_pod_gets_the_card_that_it_asks_for(node: Node) -> None:
    """Kubelet's own case 1."""
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        assert len(await held(node, "one")) == 1
        assert len((await node.allocations("one"))["main"]) == 1


async def test_two_pods_never_get_the_same_card(node: Node) -> None:
    """Kubelet's own case 3, first half."""
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        await node.run_pod(pod("two", npu=1))
        assert await held(node, "one") | await held(node, "two") == {"fake-0", "fake-1"}


async def test_a_card_is_free_again_when_its_pod_is_gone(node: Node) -> None:
    async with Agent(node, cards=1):
        await shows(node, 1, 1)
        await node.run_pod(pod("one", npu=1))
        await node.delete_pod("one")
        await node.run_pod(pod("two", npu=1))
        assert await held(node, "two") == {"fake-0"}


async def test_cards_that_sit_together_are_given_together(node: Node) -> None:
    near = [{"id": f"near-{index}", "location": "numa0/switch1"} for index in range(2)]
    far = [{"id": f"far-{index}", "location": f"numa{index}/switch{index + 2}"} for index in range(2)]
    async with Agent(node, cards=[far[0], near[0], far[1], near[1]]):
        await shows(node, 4, 4)
        await node.run_pod(pod("pair", npu=2))
        assert await held(node, "pair") == {"near-0", "near-1"}


async def test_a_request_for_more_than_there_is_fails_admission_in_kubelets_words(node: Node) -> None:
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        with pytest.raises(PodRejected) as rejection:
            await node.run_pod(pod("greedy", npu=3))
        assert rejection.value.reason == "UnexpectedAdmissionError"
        assert f"requested number of devices unavailable for {NPU}. Requested: 3, Available: 2" in rejection.value.message
        await node.run_pod(pod("modest", npu=2))


async def test_two_resources_are_offered_side_by_side(node: Node) -> None:
    resources = [{"name": NPU, "select": {"ids": "fake-0"}}, {"name": OTHER, "select": {"ids": ["fake-1", "fake-2"]}}]
    async with Agent(node, cards=3, resources=resources):
        await shows(node, 1, 1)
        await shows(node, 2, 2, resource=OTHER)
        await node.run_pod(Pod("both", [Container(devices={NPU: 1, OTHER: 2})]))
        assert await held(node, "both") == {"fake-0"}
        assert await held(node, "both", resource=OTHER) == {"fake-1", "fake-2"}


async def test_an_init_containers_card_goes_to_the_next_container(node: Node) -> None:
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.run_pod(Pod("handed", [Container("prepare", {NPU: 1}, init=True), Container("main", {NPU: 2})]))
        listed = await node.devices("handed")
        assert set(listed) == {"main"}
        assert listed["main"][NPU] == {"fake-0", "fake-1"}


async def test_a_node_without_cards_stays_up_and_finds_the_first_one(node: Node) -> None:
    async with Agent(node, cards=0) as agent:
        await agent.says("found 0 accelerators")
        await shows(node, 0, 0)
        with pytest.raises(PodRejected):
            await node.run_pod(pod("hopeful", npu=1))
        await agent.fake("add")
        await shows(node, 1, 1)
        await node.run_pod(pod("lucky", npu=1))
