"""Coming together: whoever starts first, and whatever becomes of the sockets between kubelet and the agent."""

import shutil

from tests.scenarios.agent import Agent
from tests.scenarios.eventually import eventually
from tests.scenarios.node import Node, pod
from tests.scenarios.seen import shows


async def test_an_agent_that_starts_late_is_found(node: Node) -> None:
    """Kubelet's own case 12."""
    assert await node.quantity("furiosa.ai/npu") is None
    async with Agent(node, cards=2):
        await shows(node, 2, 2)


async def test_a_kubelet_that_starts_last_finds_the_agent(node: Node) -> None:
    await node.stop_kubelet()
    shutil.rmtree(node.kubelet_dir / "device-plugins")
    async with Agent(node, cards=2) as agent:
        await agent.says("waiting")
        await node.start_kubelet()
        await shows(node, 2, 2)


async def test_the_socket_of_a_dead_kubelet_is_waited_out(node: Node) -> None:
    await node.kill_kubelet()
    async with Agent(node, cards=2) as agent:
        await agent.says("nobody answers on")
        await node.start_kubelet()
        await shows(node, 2, 2)


async def test_the_agents_own_socket_is_made_again_when_it_is_deleted(node: Node) -> None:
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        (socket,) = agent.sockets()
        socket.unlink()

        async def sockets() -> int:
            return len(agent.sockets())

        await eventually(sockets, lambda count: count == 1)
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=2))


async def test_the_folder_of_device_plugins_may_be_removed_and_made_again(node: Node) -> None:
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.stop_kubelet()
        shutil.rmtree(node.kubelet_dir / "device-plugins")
        await node.start_kubelet()
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=2))


async def test_a_second_agent_is_refused_and_leaves_the_first_alone(node: Node) -> None:
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        first = agent.sockets()
        await agent.start_another(status=1)
        assert "another npu-agent" in agent.said()
        assert agent.sockets() == first
        await shows(node, 2, 2)
