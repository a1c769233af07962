"""The agent on kubelet's own device manager, where more than the scenarios of every node can be seen."""

from tests.kubelets.node import KubeletNode
from tests.scenarios.agent import Agent
from tests.scenarios.node import Container, Pod, pod
from tests.scenarios.seen import NPU, held, shows
from tests.simulator.plugin import Plugin, unknown


async def test_a_thousand_cards_come_and_go_and_are_given(node: KubeletNode) -> None:
    async with Agent(node, cards=1000) as agent:
        await shows(node, 1000, 1000)
        await node.run_pod(pod("eight", npu=8))
        before = await held(node, "eight")
        assert len(before) == 8
        await agent.fake("fail", "fake-999")
        await shows(node, 1000, 999)
        await node.kill_kubelet()
        await node.start_kubelet()
        await shows(node, 1000, 999)
        assert await held(node, "eight") == before
        await node.run_pod(pod("rest", npu=991))
        assert not await held(node, "rest") & before


async def test_files_of_others_are_nothing_to_the_agent_and_its_own_are_sockets(node: KubeletNode) -> None:
    async with Agent(node, cards=1) as agent:
        await shows(node, 1, 1)
        for _ in range(3):
            await node.stop_kubelet()
            await node.start_kubelet()
            await shows(node, 1, 1)
        names = {path.name for path in node.plugin_dir.iterdir()}
        assert names == {"kubelet.sock", "kubelet_internal_checkpoint", *(path.name for path in agent.sockets())}
        assert len(agent.sockets()) == 1


async def test_a_stranger_whose_registration_fails_does_not_deafen_kubelet_to_the_agent(node: KubeletNode) -> None:
    async with Agent(node, cards=2) as agent, Plugin(node.plugin_dir, "stranger.sock", resource=NPU) as stranger:
        await shows(node, 2, 2)
        stranger.options_error = unknown("not me")
        assert await stranger.register() is not None
        await agent.fake("fail", "fake-0")
        await shows(node, 2, 1)
        await node.run_pod(pod("one", npu=1))
        assert await held(node, "one") == {"fake-1"}


async def test_a_pod_whose_init_container_has_ended_is_lost_to_a_kubelet_that_comes_back(node: KubeletNode) -> None:
    """Kubelet admits it again, finds no container of that name running, and no plugin has registered yet. Its card is not lost."""
    async with Agent(node, cards=1):
        await shows(node, 1, 1)
        await node.run_pod(Pod("prepared", [Container("prepare", {NPU: 1}, init=True), Container("main", {NPU: 1})]))
        await node.kill_kubelet()
        await node.start_kubelet()
        assert await node.devices("prepared") == {}
        await shows(node, 1, 1)
        await node.run_pod(pod("next", npu=1))
        assert await held(node, "next") == {"fake-0"}
