"""Init containers that run on beside the others, which kubelet knows since 1.29."""

from tests.scenarios.agent import Agent
from tests.scenarios.node import Container, Node, Pod
from tests.scenarios.seen import NPU, shows


async def test_a_sidecar_keeps_the_card_that_an_init_container_had(node: Node) -> None:
    """Kubelet's own case 10."""
    containers = [
        Container("prepare", {NPU: 1}, init=True),
        Container("sidecar", {NPU: 1}, init=True, restartable=True),
        Container("main", {NPU: 1}),
    ]
    async with Agent(node, cards=2):
        await shows(node, 2, 2)
        await node.run_pod(Pod("assisted", containers))
        listed = await node.devices("assisted")
        assert set(listed) == {"sidecar", "main"}
        assert listed["sidecar"][NPU] | listed["main"][NPU] == {"fake-0", "fake-1"}
