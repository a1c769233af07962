"""The health of devices in the status of pods, where a node reports it (`reports_device_health`)."""

from tests.scenarios.agent import Agent
from tests.scenarios.eventually import eventually
from tests.scenarios.node import Node, pod
from tests.scenarios.seen import WITHIN_S, shows


async def _reads(node: Node, pod_name: str, health: str) -> None:
    await eventually(lambda: node.device_health(pod_name), lambda seen: seen == {"fake-0": health}, within_s=WITHIN_S)


async def test_the_pods_status_says_when_its_card_fails_and_heals(node: Node) -> None:
    """Kubelet's own case 21."""
    async with Agent(node, cards=1) as agent:
        await shows(node, 1, 1)
        await node.run_pod(pod("one", npu=1))
        await _reads(node, "one", "Healthy")
        await agent.fake("fail", "fake-0")
        await _reads(node, "one", "Unhealthy")
        await agent.fake("heal", "fake-0")
        await _reads(node, "one", "Healthy")


async def test_the_pods_status_says_when_its_card_is_pulled_out(node: Node) -> None:
    async with Agent(node, cards=1) as agent:
        await shows(node, 1, 1)
        await node.run_pod(pod("one", npu=1))
        await _reads(node, "one", "Healthy")
        await agent.fake("remove", "fake-0")
        await _reads(node, "one", "Unhealthy")
