"""What holds inside real containers (`runs_containers`). The agent makes the device nodes of its fake cards, so it is root here."""

from tests.scenarios.agent import Agent
from tests.scenarios.node import Node, pod
from tests.scenarios.seen import held, shows


async def test_a_pod_opens_its_own_card_and_sees_no_other(node: Node) -> None:
    """Kubelet's own case 2."""
    cards = [{"id": "first", "name": "npu0"}, {"id": "second", "name": "npu1"}]
    async with Agent(node, cards=cards, device_folder=node.work / "dev"):
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        (card,) = await held(node, "one")
        mine = {"first": "npu0", "second": "npu1"}[card]
        assert await node.run_in_pod("one", "ls", "/dev/fake") == (0, f"{mine}\n")
        assert await node.run_in_pod("one", "sh", "-c", f"echo ok > /dev/fake/{mine}") == (0, "")


async def test_a_device_that_a_pod_was_not_given_is_refused_even_if_it_makes_the_node(node: Node) -> None:
    async with Agent(node, cards=1, device_folder=node.work / "dev"):
        await shows(node, 1, 1)
        await node.run_pod(pod("curious", npu=1))
        status, said = await node.run_in_pod("curious", "sh", "-c", "mknod /other c 240 7 && cat /other")
        assert status != 0
        assert "Operation not permitted" in said


async def test_a_pods_card_survives_restarts_of_its_containers_and_of_kubelet(node: Node) -> None:
    """Kubelet's own cases 3 and 5."""
    async with Agent(node, cards=2, device_folder=node.work / "dev"):
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before = await held(node, "one")
        await node.restart_containers("one")
        assert await held(node, "one") == before
        await node.stop_kubelet()
        await node.start_kubelet()
        await shows(node, 2, 2)
        await node.restart_containers("one")
        assert await held(node, "one") == before
        status, _ = await node.run_in_pod("one", "sh", "-c", "echo ok > /dev/fake/npu*")
        assert status == 0
