"""What several devices need, as one: the answer to a container that holds more than one."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from npu_agent.core.accelerator import ContainerEdits, DeviceNode, Mount


class EditsConflict(ValueError):
    """Two devices want different things at one place of the container."""


def merge(parts: Iterable[ContainerEdits]) -> ContainerEdits:
    """Return all of `parts` as one, each node and mount once, in order.

    Partitions of one card share nodes, so equal ones are expected. A variable or an annotation that several devices set gets their
    values joined with commas. Raises EditsConflict if two want different host paths at one path of the container.
    """
    nodes: dict[str, DeviceNode] = {}
    mounts: dict[str, Mount] = {}
    environment: dict[str, dict[str, None]] = {}
    annotations: dict[str, dict[str, None]] = {}
    cdi_devices: dict[str, None] = {}
    for part in parts:
        for node in part.device_nodes:
            if nodes.setdefault(node.container_path, node).host_path != node.host_path:
                raise EditsConflict(_conflict(node.container_path, nodes[node.container_path].host_path, node.host_path))
        for mount in part.mounts:
            if mounts.setdefault(mount.container_path, mount).host_path != mount.host_path:
                raise EditsConflict(_conflict(mount.container_path, mounts[mount.container_path].host_path, mount.host_path))
        for name, value in part.environment:
            environment.setdefault(name, {})[value] = None
        for name, value in part.annotations:
            annotations.setdefault(name, {})[value] = None
        cdi_devices.update(dict.fromkeys(part.cdi_devices))
    return ContainerEdits(
        tuple(nodes.values()), tuple(mounts.values()), _joined(environment), tuple(cdi_devices), annotations=_joined(annotations)
    )


def without_nodes(edits: ContainerEdits, absent: Collection[str]) -> ContainerEdits:
    """Return `edits` without the optional device nodes whose host paths are in `absent`."""
    return replace(edits, device_nodes=tuple(node for node in edits.device_nodes if node.required or node.host_path not in absent))


def _joined(texts: Mapping[str, Iterable[str]]) -> tuple[tuple[str, str], ...]:
    return tuple((name, ",".join(values)) for name, values in texts.items())


def _conflict(place: str, first: str, second: str) -> str:
    return f"both {first} and {second} would be {place} in the container; ask for one device, or give the family other container paths"
