"""What of a card can be handed out by itself, and what containers get with it, as its family describes it."""

from collections.abc import Sequence
from functools import lru_cache

from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Mount, Part
from npu_agent.families.containers import Node
from npu_agent.families.family import Family
from npu_agent.families.texts import fill, matcher

MOST_CARDS = 4096


def parts_of(accelerator: Accelerator, family: Family, *, own_node: str = "", major: int = 0) -> tuple[Part, ...]:
    """Return the parts of a card, the whole first; none of one that its driver does not show, which has no name.

    `major` is the number of the driver of the device node at the host path `own_node`, if both are known. Of other nodes it is not: a
    driver may have more than one.
    """
    named = matcher(family.entries.name).fullmatch(accelerator.name)
    if named is None:
        return ()
    return _parts(_Described(family), named[1], accelerator.pci_address, accelerator.serial, accelerator.uuid, own_node, major)


class _Described:
    """A family that is compared by its name: those of one backend have names of their own, and nothing in them changes."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Described) and other.family is self.family

    def __hash__(self) -> int:
        return id(self.family)


@lru_cache(maxsize=MOST_CARDS)
def _parts(described: _Described, index: str, pci_address: str, serial: str, uuid: str, own_node: str, major: int) -> tuple[Part, ...]:
    family = described.family
    values = {"index": index, "part": "", "pci_address": pci_address, "serial": serial, "uuid": uuid}
    made = [(node, _device_nodes(node, index, own_node, major)) for node in family.nodes]
    mounts = tuple(
        Mount(fill(mount.host_path, values), fill(mount.container_path or mount.host_path, values), mount.read_only)
        for mount in family.mounts
    )

    def part(kind: str, name: str, chosen: Sequence[str] | None) -> Part:
        nodes = tuple(
            device_node
            for node, each in made
            for value, device_node in each
            if chosen is None or not node.divided or (node.each and value in chosen)
        )
        own = {**values, "part": name}
        edits = ContainerEdits(
            nodes,
            mounts,
            environment=tuple((variable, fill(value, own)) for variable, value in family.environment.items()),
            cdi_devices=tuple(fill(device, own) for device in family.cdi_devices),
            annotations=tuple((annotation, fill(value, own)) for annotation, value in family.annotations.items()),
        )
        return Part(kind, name, edits)

    return (
        part("", "", None),
        *(part(kind, name, chosen) for kind, names in family.partitions.items() for name, chosen in names.items()),
    )


def _device_nodes(node: Node, index: str, own_node: str, major: int) -> list[tuple[str, DeviceNode]]:
    """Return the nodes that `node` stands for, each with its value of `each`."""
    made = []
    for value in node.each or ("",):
        values = {"index": index, "each": value}
        path = fill(node.path, values)
        container_path = fill(node.container_path, values) if node.container_path else path
        known = major if path == own_node else 0
        made.append((value, DeviceNode(path, container_path, node.permissions, node.required, node.shared, known)))
    return made
