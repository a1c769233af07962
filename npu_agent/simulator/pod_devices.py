"""Who holds what: the devices of each container and the answer of Allocate that came with them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from npu_agent.api.v1beta1 import ContainerAllocateResponse

NO_NODE = -1
"""kubelet's key for devices without a NUMA node."""


@dataclass(frozen=True, slots=True)
class Held:
    """What one container holds of one resource. `by_node` has the ids under each NUMA node that they list, or under NO_NODE."""

    by_node: Mapping[int, tuple[str, ...]]
    response: ContainerAllocateResponse

    @property
    def ids(self) -> frozenset[str]:
        return frozenset(identity for ids in self.by_node.values() for identity in ids)

    def nodes(self) -> dict[str, list[int]]:
        """Return the NUMA nodes of each device, an empty list for those without one."""
        nodes: dict[str, list[int]] = {}
        for node, ids in self.by_node.items():
            for identity in ids:
                nodes.setdefault(identity, []).extend([] if node == NO_NODE else [node])
        return nodes


@dataclass(frozen=True, slots=True)
class Holding:
    """One row of who holds what."""

    pod_uid: str
    container: str
    resource: str
    held: Held


@dataclass(slots=True)
class PodDevices:
    """The table of who holds what, kept until the pod is known to be gone."""

    _held: dict[tuple[str, str, str], Held] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Holding]:
        return (Holding(*key, held) for key, held in self._held.items())

    def insert(self, holding: Holding) -> None:
        self._held[holding.pod_uid, holding.container, holding.resource] = holding.held

    def forget(self, pod_uids: Iterable[str]) -> None:
        """Remove all rows of these pods."""
        gone = set(pod_uids)
        self._held = {key: held for key, held in self._held.items() if key[0] not in gone}

    def pods(self) -> set[str]:
        return {pod_uid for pod_uid, _, _ in self._held}

    def of(self, pod_uid: str, container: str) -> dict[str, Held]:
        """Return what a container holds, by resource."""
        return {holding.resource: holding.held for holding in self if (holding.pod_uid, holding.container) == (pod_uid, container)}

    def by_resource(self) -> dict[str, set[str]]:
        """Return the ids that are held by anybody, by resource."""
        ids: dict[str, set[str]] = {}
        for holding in self:
            ids.setdefault(holding.resource, set()).update(holding.held.ids)
        return ids
