"""The agent against a kubelet that misbehaves in ways that no real one can be made to."""

from pathlib import Path

import anyio
import pytest

from npu_agent.simulator.faults import RegisterFault
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.scenarios.agent import Agent
from tests.scenarios.node import Node, pod
from tests.scenarios.seen import shows
from tests.simulator.own_task import in_own_task
from tests.simulator.simulated_node import SimulatedNode


async def test_a_restart_that_gives_kubelets_socket_the_same_inode_is_noticed(kubelet: SimulatedKubelet, node: Node) -> None:
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await kubelet.restart(same_inode=True)
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=2))


async def test_kubelets_socket_may_refuse_for_a_while_after_it_has_come(kubelet: SimulatedKubelet, node: Node) -> None:
    kubelet.faults.bind_to_listen_s = 0.3
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await kubelet.restart()
        await shows(node, 2, 2)


async def test_a_register_that_fails_after_kubelet_carried_it_out_loses_nothing(kubelet: SimulatedKubelet, node: Node) -> None:
    kubelet.faults.register.append(RegisterFault(refuse_with="lost on the way", after_acceptance=True))
    async with Agent(node, cards=2) as agent:
        await agent.says("lost on the way")
        await shows(node, 2, 2)
        await agent.fake("fail", "fake-0")
        await shows(node, 2, 1)
        assert len(agent.sockets()) == 1


async def test_a_kubelet_that_refuses_is_asked_again_and_its_text_is_logged_once(kubelet: SimulatedKubelet, node: Node) -> None:
    kubelet.faults.register.extend([RegisterFault(refuse_with="not now")] * 3)
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        assert kubelet.register_calls == 4
        assert agent.said().count("not now") == 1


async def test_a_slow_register_is_waited_for(kubelet: SimulatedKubelet, node: Node) -> None:
    kubelet.faults.register.append(RegisterFault(delay_s=0.4))
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        assert kubelet.register_calls == 1


@pytest.mark.parametrize("after_acceptance", [False, True])
async def test_a_kubelet_that_dies_during_register_is_found_again(kubelet: SimulatedKubelet, node: Node, after_acceptance: bool) -> None:
    kubelet.faults.register.append(RegisterFault(hang=True, after_acceptance=after_acceptance))
    async with Agent(node, cards=2):
        with anyio.fail_after(20):
            await kubelet.until(lambda: kubelet.register_calls == 1)
        await kubelet.restart()
        await shows(node, 2, 2)


@pytest.mark.parametrize("version", ["1.30.14", "1.37.2"])
async def test_older_and_newer_kubelets_get_the_same_service(short_dir: Path, version: str) -> None:
    (short_dir / "work").mkdir()
    async with in_own_task(SimulatedKubelet(short_dir, version=version)) as kubelet:
        await kubelet.start()
        node = SimulatedNode(kubelet, short_dir / "work")
        async with Agent(node, cards=2) as agent:
            await shows(node, 2, 2)
            await kubelet.restart()
            await shows(node, 2, 2)
            await kubelet.cut_streams()
            await shows(node, 2, 2)
            await agent.upgrade()
            await shows(node, 2, 2)
            await node.run_pod(pod("one", npu=2))
