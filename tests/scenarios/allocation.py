"""Pods and the devices that they get."""

import pytest

from tests.scenarios.agent import Agent
from tests.scenarios.node import Node, PodRejected, pod
from tests.scenarios.seen import NPU, held, shows


async def test_a_pod_gets_the_card_that_it_asks_for(node: Node) -> None:
    """Kubelet's own case 1."""
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        assert len(await held(node, "one")) == 1
        assert len((await node.allocations("one"))["main"]) >= 1


async def test_a_request_for_more_than_there_is_fails_admission_in_kubelets_words(node: Node) -> None:
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        with pytest.raises(PodRejected) as rejection:
            await node.run_pod(pod("greedy", npu=3))
        assert rejection.value.reason == "UnexpectedAdmissionError"
        assert f"requested number of devices unavailable for {NPU}. Requested: 3, Available: 2" in rejection.value.message
