"""What containers were given, as it must be remembered so that no hardware is given twice, whatever it is called later.

The model is told in docs/decisions/0010-identity.md.
"""

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, replace

from npu_agent.core.accelerator import Accelerator, Part
from npu_agent.core.identity import ids_of
from npu_agent.core.pool import Device

Key = tuple[str, str]
"""Resource name and device id: what kubelet knows a device by."""


@dataclass(frozen=True, slots=True)
class Allocation:
    """A device that kubelet was told how to give to a container, and the hardware that it stood for then.

    `nodes` are the host paths of the device nodes, without those that several cards share; `own_nodes` are those that no other part
    of the same kind has. An allocation that is known from kubelet alone has neither, and no hardware (`accelerator_id` is empty).
    """

    resource: str
    device_id: str
    accelerator_id: str = ""
    kind: str = ""
    part: str = ""
    is_replica: bool = False
    backend: str = ""
    family: str = ""
    name: str = ""
    uuid: str = ""
    serial: str = ""
    pci_address: str = ""
    nodes: frozenset[str] = frozenset()
    own_nodes: frozenset[str] = frozenset()

    @property
    def key(self) -> Key:
        return self.resource, self.device_id


def allocation_of(resource: str, device: Device, accelerator: Accelerator) -> Allocation:
    """Return what is to be remembered when a container is given `device`, a part of `accelerator`."""
    return Allocation(
        resource=resource,
        device_id=device.id,
        accelerator_id=accelerator.id,
        kind=device.part.kind,
        part=device.part.name,
        is_replica=device.replica is not None,
        backend=accelerator.backend,
        family=accelerator.family,
        name=accelerator.name,
        uuid=accelerator.uuid,
        serial=accelerator.serial,
        pci_address=accelerator.pci_address,
        nodes=nodes_of(device.part),
        own_nodes=own_nodes(accelerator, device.part),
    )


def with_texts(allocation: Allocation, accelerator: Accelerator) -> Allocation:
    """Return the allocation with what can be read of its card now; a text that cannot be read now is remembered."""
    now = replace(
        allocation,
        name=accelerator.name or allocation.name,
        uuid=accelerator.uuid or allocation.uuid,
        serial=accelerator.serial or allocation.serial,
        pci_address=accelerator.pci_address or allocation.pci_address,
    )
    return allocation if now == allocation else now


def nodes_of(part: Part) -> frozenset[str]:
    """Return the host paths of the nodes of `part` that belong to its card alone."""
    return frozenset(node.host_path for node in part.edits.device_nodes if not node.shared)


def own_nodes(accelerator: Accelerator, part: Part) -> frozenset[str]:
    """Return those nodes of `part` that no other part of its kind has."""
    others: set[str] = set()
    for other in accelerator.parts:
        if other.kind == part.kind and other.name != part.name:
            others |= nodes_of(other)
    return nodes_of(part) - others


class Conflicts:
    """Finds the allocations that speak against offering a device. Made for one plan; `live` are those that a pod may still hold."""

    def __init__(self, live: Iterable[Allocation]) -> None:
        self._live = tuple(live)
        self._by_node: dict[str, list[Allocation]] = {}
        self._by_accelerator: dict[str, list[Allocation]] = {}
        self._bare: list[Allocation] = []
        for allocation in self._live:
            for node in allocation.nodes:
                self._by_node.setdefault(node, []).append(allocation)
            if allocation.accelerator_id:
                self._by_accelerator.setdefault(allocation.accelerator_id, []).append(allocation)
            else:
                self._bare.append(allocation)

    def __bool__(self) -> bool:
        return bool(self._live)

    def of(self, resource: str, device: Device, accelerator: Accelerator, may_be: frozenset[str], present: Container[str]) -> str:
        """Return why `device` must not be offered, empty if it may. `present` has the ids of all accelerators of the node."""
        for allocation in self._of_same(accelerator.id):
            if allocation.key != (resource, device.id) and _overlap(allocation, resource, device, accelerator):
                return f"it may still be held as {_called(allocation)}"
        for node in nodes_of(device.part) if self._by_node else ():
            for allocation in self._by_node.get(node, ()):
                if allocation.accelerator_id != accelerator.id:
                    return f"a device node of it was given to whoever holds {_called(allocation)}, and may still be in use"
        for id in sorted(may_be):
            for allocation in self._of_same(id):
                return f"it may be the card that is held as {_called(allocation)}, under another name"
        if self._bare:
            names = ids_of(accelerator)
            for allocation in self._bare:
                is_claimed = not names.isdisjoint(_card_called(allocation.device_id))
                if allocation.key != (resource, device.id) and is_claimed and not _is_other(allocation, accelerator, present):
                    return f"it may be the card that is held as {_called(allocation)}"
        return ""

    def _of_same(self, accelerator_id: str) -> Sequence[Allocation]:
        return self._by_accelerator.get(accelerator_id, ())


def _overlap(allocation: Allocation, resource: str, device: Device, accelerator: Accelerator) -> bool:
    """Whether a device and an allocation of the same card have something in common that is not meant to be shared."""
    same_part = (allocation.kind, allocation.part) == (device.part.kind, device.part.name)
    if same_part:
        return not (allocation.is_replica and device.replica is not None and allocation.resource == resource)
    if allocation.kind == device.part.kind:
        return False
    mine = own_nodes(accelerator, device.part)
    if allocation.own_nodes and mine:
        return not allocation.own_nodes.isdisjoint(mine)
    return True


def _is_other(allocation: Allocation, accelerator: Accelerator, present: Container[str]) -> bool:
    """Whether the allocation, known from kubelet alone, is one of another card that is there under its name."""
    names = _card_called(allocation.device_id)
    return accelerator.id not in names and any(name in present for name in names)


def _card_called(device_id: str) -> frozenset[str]:
    """Return the ids that the card of a device of this id may have: the id itself, or what comes before the suffix of a part."""
    steps = device_id.split("_")
    return frozenset("_".join(steps[:count]) for count in range(1, len(steps) + 1))


def _called(allocation: Allocation) -> str:
    return f"{allocation.device_id} of {allocation.resource}"
