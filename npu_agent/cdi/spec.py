"""Specs of CDI from devices: pure values, in the form that every runtime with CDI reads.

The format is https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md. A runtime rejects a file with a field that the
version it names does not have, and reads no version newer than itself, so the lowest one that has all of ours is named.
"""

import re
from collections.abc import Mapping
from typing import Any

from npu_agent.core.accelerator import ContainerEdits, DeviceNode, Mount

PREFIX = "npu-agent-"
"""How the names of our files begin. A file of somebody else is not touched."""

VERSION = "0.5.0"
"""The first with `hostPath` of a device node and with names that begin with a digit."""

VERSION_WITH_DOTS = "0.6.0"
"""The first in which a class may have a dot."""

ANNOTATION = "cdi.k8s.io/"
"""What containerd and CRI-O look for where kubelet has no field for CDI yet (before 1.29)."""

MOST_OF_A_NAME = 63
"""Characters in the name of an annotation, after its prefix."""

Spec = dict[str, Any]
"""A spec as data, ready for JSON."""


def kind_of(resource: str) -> str:
    """Return the kind of the devices of a resource: `vendor/class`, each beginning with a letter, which a resource's name need not."""
    vendor, _, name = resource.partition("/")
    return "/".join(part if part[:1].isalpha() else f"r-{part}" for part in (vendor, name))


def qualified(resource: str, device_id: str) -> str:
    """Return the whole name of a device, by which a runtime finds it."""
    return f"{kind_of(resource)}={device_id}"


def file_of(resource: str) -> str:
    """Return the name of the file that has the devices of a resource."""
    return f"{PREFIX}{resource.replace('/', '_')}.json"


def annotation_of(resource: str) -> str:
    """Return the key of the annotation that names devices of a resource: one for each, since a container may have several."""
    return ANNOTATION + re.sub(r"[^A-Za-z0-9]+$", "", f"{PREFIX}{resource.replace('/', '_')}"[:MOST_OF_A_NAME])


def spec_of(resource: str, devices: Mapping[str, ContainerEdits]) -> Spec | None:
    """Return the spec that has `devices`, by their ids, or None without any: a spec must have one.

    Variables and annotations are not in it: where a container holds several devices they are joined, which a spec cannot say, so they
    are handed over with the answer to kubelet.
    """
    if not devices:
        return None
    kind = kind_of(resource)
    version = VERSION_WITH_DOTS if "." in kind.partition("/")[2] else VERSION
    return {
        "cdiVersion": version,
        "kind": kind,
        "devices": [{"name": id, "containerEdits": _edits(edits)} for id, edits in sorted(devices.items())],
    }


def _edits(edits: ContainerEdits) -> dict[str, Any]:
    parts = {"deviceNodes": [_node(node) for node in edits.device_nodes], "mounts": [_mount(mount) for mount in edits.mounts]}
    return {name: part for name, part in parts.items() if part}


def _node(node: DeviceNode) -> dict[str, Any]:
    node_and_rights = {"path": node.container_path, "permissions": node.permissions}
    return node_and_rights if node.host_path == node.container_path else {**node_and_rights, "hostPath": node.host_path}


def _mount(mount: Mount) -> dict[str, Any]:
    options = ["rbind", "nosuid", "nodev", "ro" if mount.read_only else "rw"]
    return {"hostPath": mount.host_path, "containerPath": mount.container_path, "options": options}
