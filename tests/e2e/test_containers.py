"""What only real containers show: which device nodes a pod can open, and that no restart around it takes them away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.e2e.device_nodes import harmless_devices, make_node, make_node_in_pod, open_in_pod
from tests.e2e.node import RealNode
from tests.scenarios.agent import Agent
from tests.scenarios.node import pod
from tests.scenarios.seen import held, shows


@asynccontextmanager
async def two_cards(node: RealNode) -> AsyncIterator[Agent]:
    """An agent with the cards fake-0 and fake-1, whose device nodes are those of two different devices."""
    folder = node.work / "dev"
    for number, device in enumerate(harmless_devices()[:2]):
        make_node(folder / f"npu{number}", device)
    async with Agent(node, cards=2, device_folder=folder) as agent:
        await shows(node, 2, 2)
        yield agent


async def own_device(node: RealNode, pod_name: str) -> tuple[str, int]:
    """Return the path in the container of the pod's only device, and its number."""
    ((path,),) = (await node.allocations(pod_name)).values()
    return f"/dev/fake/{Path(path).name}", Path(path).stat().st_rdev


async def test_a_pod_sees_and_opens_its_own_card_and_is_refused_another(node: RealNode) -> None:
    """Kubelet's own case 2."""
    async with two_cards(node):
        await node.run_pod(pod("one", npu=1))
        path, device = await own_device(node, "one")
        assert await node.run_in_pod("one", "ls", "/dev/fake") == (0, f"{Path(path).name}\n")
        (other,) = set(harmless_devices()[:2]) - {device}
        assert await open_in_pod(node, "one", path) == ""
        await make_node_in_pod(node, "one", "/stolen", other)
        assert "Operation not permitted" in await open_in_pod(node, "one", "/stolen")


async def test_a_pod_without_a_card_sees_none_and_is_refused_all(node: RealNode) -> None:
    async with two_cards(node):
        await node.run_pod(pod("none"))
        assert (await node.run_in_pod("none", "ls", "/dev/fake"))[0] != 0
        for number, device in enumerate(harmless_devices()[:2]):
            await make_node_in_pod(node, "none", f"/stolen{number}", device)
            assert "Operation not permitted" in await open_in_pod(node, "none", f"/stolen{number}")


async def test_a_container_that_starts_again_opens_the_same_card(node: RealNode) -> None:
    """Kubelet's own case 3."""
    async with two_cards(node):
        await node.run_pod(pod("one", npu=1))
        before, (path, _) = await held(node, "one"), await own_device(node, "one")
        await node.restart_containers("one")
        assert await held(node, "one") == before
        assert await open_in_pod(node, "one", path) == ""


@pytest.mark.parametrize("fault", ["kubelet killed", "agent killed", "agent stopped", "agent upgraded"])
async def test_a_container_lives_on_with_its_card_when(fault: str, node: RealNode) -> None:
    async with two_cards(node) as agent:
        await node.run_pod(pod("one", npu=1))
        path, _ = await own_device(node, "one")
        before = await node.containers("one")
        match fault:
            case "kubelet killed":
                await node.kill_kubelet()
                await node.start_kubelet()
            case "agent killed":
                await agent.kill()
                await shows(node, 2, 0)
                await agent.start()
            case "agent stopped":
                await agent.stop()
                await shows(node, 2, 0)
                await agent.start()
            case "agent upgraded":
                await agent.upgrade()
        await shows(node, 2, 2)
        assert await open_in_pod(node, "one", path) == ""
        assert await node.containers("one") == before
        await node.run_pod(pod("two", npu=1))
        assert not await held(node, "two") & await held(node, "one")
