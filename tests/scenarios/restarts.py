"""Kubelet or the agent ends and comes back, in order or not, while pods run."""

import asyncio

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


async def test_devices_come_back_after_kubelet_is_killed(node: Node) -> None:
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before = await held(node, "one")
        await node.kill_kubelet()
        await node.start_kubelet()
        await shows(node, 2, 2)
        assert await held(node, "one") == before


async def test_devices_come_back_after_kubelet_restarts_twice_in_a_row(node: Node) -> None:
    """Its second clean-up takes the socket that was made after the first."""
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        for _ in range(2):
            await node.kill_kubelet()
            await node.start_kubelet()
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=2))


async def test_a_pod_keeps_its_card_over_restarts_of_its_containers_and_of_kubelet(node: Node) -> None:
    """Kubelet's own cases 3 and 5."""
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before, nodes = await held(node, "one"), await node.allocations("one")
        await node.restart_containers("one")
        assert await held(node, "one") == before
        await node.kill_kubelet()
        await node.start_kubelet()
        await shows(node, 2, 2)
        await node.restart_containers("one")
        assert await held(node, "one") == before
        assert await node.allocations("one") == nodes


async def test_a_pod_that_is_deleted_while_kubelet_is_down_holds_nothing_afterwards(node: Node) -> None:
    async with Agent(node, cards=1):
        await shows(node, 1, 1)
        await node.run_pod(pod("one", npu=1))
        await node.stop_kubelet()
        await node.delete_pod("one")
        await node.start_kubelet()
        await shows(node, 1, 1)
        await node.run_pod(pod("two", npu=1))
        assert await held(node, "two") == {"fake-0"}


async def test_allocatable_is_nothing_while_the_agent_is_away_and_pods_keep_their_cards(node: Node) -> None:
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before = await held(node, "one")
        await agent.stop()
        await shows(node, 2, 0)
        assert agent.sockets() == []
        assert await held(node, "one") == before
        await agent.start()
        await shows(node, 2, 2)
        assert await held(node, "one") == before
        await node.run_pod(pod("two", npu=1))
        assert not await held(node, "two") & before


async def test_an_agent_that_is_killed_and_started_again_changes_nothing_for_pods(node: Node) -> None:
    """Kubelet's own case 7."""
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before = await held(node, "one")
        await agent.kill()
        await shows(node, 2, 0)
        await agent.start()
        await shows(node, 2, 2)
        assert await held(node, "one") == before
        assert len(agent.sockets()) == 1


async def test_an_agent_that_takes_over_changes_nothing_for_pods(node: Node) -> None:
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before = await held(node, "one")
        await agent.upgrade()
        await shows(node, 2, 2)
        assert await held(node, "one") == before
        await node.run_pod(pod("two", npu=1))
        assert not await held(node, "two") & before


async def test_kubelet_and_the_agent_restart_together_and_pods_keep_their_cards(node: Node) -> None:
    """Kubelet's own case 8."""
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before = await held(node, "one")
        await asyncio.gather(node.kill_kubelet(), agent.kill())
        await asyncio.gather(agent.start(), node.start_kubelet())
        await shows(node, 2, 2)
        assert await held(node, "one") == before
