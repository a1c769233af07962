"""Kubelet or the agent ends and comes back, in order or not."""

from tests.scenarios.agent import Agent
from tests.scenarios.node import Node, pod
from tests.scenarios.seen import held, shows


async def test_devices_come_back_after_kubelet_restarts_and_pods_keep_theirs(node: Node) -> None:
    """Kubelet's own case 4."""
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before = await held(node, "one")
        await node.stop_kubelet()
        await node.start_kubelet()
        await shows(node, 2, 2)
        assert await held(node, "one") == before
        await node.run_pod(pod("two", npu=1))
        assert not await held(node, "two") & before
