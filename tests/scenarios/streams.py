"""Connections that are lost while both sides live, where a node can be made to lose them (`cut_streams`)."""

from tests.scenarios.agent import Agent
from tests.scenarios.node import Node, pod
from tests.scenarios.seen import held, shows


async def test_a_stream_that_kubelet_drops_is_registered_again(node: Node) -> None:
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before = await held(node, "one")
        for _ in range(3):
            await node.cut_streams()
            await shows(node, 2, 2)
        assert await held(node, "one") == before
        await node.run_pod(pod("two", npu=1))


async def test_what_failed_while_the_stream_was_down_is_known_when_it_is_back(node: Node) -> None:
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        await node.cut_streams()
        await agent.fake("fail", "fake-0")
        await shows(node, 2, 1)
