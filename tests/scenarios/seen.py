"""What a scenario waits to see on its node."""

from tests.scenarios.eventually import eventually
from tests.scenarios.node import Node, Quantity

NPU = "furiosa.ai/npu"

WITHIN_S = 30.0
"""What kubelet's own tests give a plugin to come back (docs/kubelet.md); a real node's status is only as fresh as kubelet writes it."""


async def shows(node: Node, capacity: int, allocatable: int, *, resource: str = NPU, within_s: float = WITHIN_S) -> None:
    """Return when the node reports that many devices of `resource`; fail if it does not in time."""
    wanted = Quantity(capacity, allocatable)
    await eventually(lambda: node.quantity(resource), lambda seen: seen == wanted, within_s=within_s)


async def held(node: Node, pod_name: str, *, container: str = "main", resource: str = NPU) -> frozenset[str]:
    """Return the devices that a container of a pod holds by kubelet's PodResources."""
    return (await node.devices(pod_name)).get(container, {}).get(resource, frozenset())
