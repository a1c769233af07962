"""Who answers what a container is given: the node, or what stands between it and kubelet."""

from collections.abc import Sequence
from typing import Protocol

from npu_agent.core.accelerator import ContainerEdits
from npu_agent.core.pool import Device


class Host(Protocol):
    """What a device plugin needs of the rest of the agent."""

    async def allocate(self, resource: str, devices: Sequence[Device]) -> ContainerEdits:
        """Return what a container needs to use all of `devices`, with every node seen on the host. Raises AllocationError."""

    async def prepare(self, devices: Sequence[Device]) -> None:
        """Prepare `devices` for a container that is about to start. Raises AllocationError."""
