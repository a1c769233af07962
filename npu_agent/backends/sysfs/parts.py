"""What of a card can be handed out by itself, and what containers get with it, as its family describes it."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from npu_agent.backends.sysfs.entry import Entry
from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Mount, Part
from npu_agent.families.containers import Node
from npu_agent.families.family import Family
from npu_agent.families.texts import CONTAINER, fill, matcher, placeholders

MOST_CARDS = 4096

Filled = tuple[tuple[str, str], ...]
"""What is filled into paths and texts, by the names of the placeholders."""


def parts_of(accelerator: Accelerator, family: Family, entry: Entry | None = None) -> tuple[Part, ...]:
    """Return the parts of a card, the whole first; none of one that its driver does not show, which has no name.

    Of `entry`, from which the card was read, are its place, its model, the parts that it offers, and the number of the driver of its own
    device node; of other nodes it is not known: a driver may have more than one. Without an entry the card's name must tell its index.
    """
    if entry is not None:
        filled: Mapping[str, str] = {**entry.filled, "model": entry.model.name if entry.model else ""}
        own_node, major, folder = entry.own_node, entry.major, entry.shown_by.folder if entry.shown_by else ""
    else:
        named = matcher(family.entries[0].name).fullmatch(accelerator.name) if family.entries else None
        if named is None:
            return ()
        filled = {"index": named[1], "pci_address": accelerator.pci_address, "name": accelerator.name}
        own_node, major, folder = "", 0, family.entries[0].folder
    values = {**filled, "serial": accelerator.serial, "uuid": accelerator.uuid}
    return _parts(_Described(family), tuple(sorted(values.items())), own_node, major, folder, entry.offered if entry else None)


class _Described:
    """A family that is compared by its name: those of one backend have names of their own, and nothing in them changes."""

    def __init__(self, family: Family) -> None:
        self.family = family

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Described) and other.family is self.family

    def __hash__(self) -> int:
        return id(self.family)


@lru_cache(maxsize=MOST_CARDS)
def _parts(
    described: _Described, filled: Filled, own_node: str, major: int, folder: str, offered: frozenset[str] | None
) -> tuple[Part, ...]:
    family = described.family
    known = dict(filled)
    made = [(node, list(_device_nodes(node, known, own_node, major))) for node in family.nodes if node.folder in ("", folder)]
    mounts = tuple(
        Mount(fill(mount.host_path, known), fill(mount.container_path or mount.host_path, known), mount.read_only, mount.required)
        for mount in family.mounts
        if _is_known(mount.host_path, known) and _is_known(mount.container_path or "", known)
    )
    # A text with something that is not known of this card has nothing in its place.
    in_texts = {**dict.fromkeys((*CONTAINER, *family.found), ""), **known}

    def part(kind: str, name: str, chosen: Sequence[str] | None) -> Part:
        nodes = tuple(
            device_node
            for node, each in made
            for value, device_node in each
            if chosen is None or not node.divided or (node.each and value in chosen)
        )
        own = {**in_texts, "part": name}
        edits = ContainerEdits(
            nodes,
            mounts,
            environment=tuple((variable, fill(value, own)) for variable, value in family.environment.items()),
            cdi_devices=tuple(fill(device, own) for device in family.cdi_devices),
            annotations=tuple((annotation, fill(value, own)) for annotation, value in family.annotations.items()),
        )
        lacking = [value for value in chosen or () if offered is not None and value not in offered]
        return Part(kind, name, edits, unusable=f"the card is not set up for {', '.join(lacking)}" if lacking else "")

    return (
        part("", "", None),
        *(part(kind, name, chosen) for kind, names in family.partitions.items() for name, chosen in names.items()),
    )


def _is_known(pattern: str, known: Mapping[str, str]) -> bool:
    return all(name in known for name in placeholders(pattern))


def _device_nodes(node: Node, known: Mapping[str, str], own_node: str, major: int) -> Iterator[tuple[str, DeviceNode]]:
    """Yield the nodes that `node` stands for, each with its value of `each`; none where a card has nothing to name them by."""
    for value in node.each or ("",):
        values = {**known, "each": value}
        if _is_known(node.path, values) and _is_known(node.container_path or "", values):
            path = fill(node.path, values)
            container_path = fill(node.container_path, values) if node.container_path else path
            yield value, DeviceNode(path, container_path, node.permissions, node.required, node.shared, major if path == own_node else 0)
