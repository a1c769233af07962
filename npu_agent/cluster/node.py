"""What a Node object says, brought in step with what it is to say: labels and annotations by apply, the taint by read and write."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from npu_agent.cluster.client import APPLY, JSON, MERGE, METADATA, ApiServer, Object
from npu_agent.cluster.errors import ApiRefused
from npu_agent.cluster.labels import Description
from npu_agent.cluster.taints import ANNOTATION, Taint, changed

MANAGER = "npu-agent"
"""Our name in an object's managedFields: what is below it is ours, and nothing else is."""

Section = Literal["labels", "annotations"]

CONFLICT = 409
MOST_CONFLICTS = 20
"""Times in a row that somebody else may write the node between our read and our write of its taints."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be so. `description` is None where labels are not ours to write; `with_taint` says whether a taint may be wanted."""

    description: Description | None
    taint: Taint | None = None
    with_taint: bool = False


async def bring(api: ApiServer, name: str, wanted: Wanted) -> str:
    """Bring the node `name` in step with `wanted`, and return what cannot be so, empty if all can.

    It is read first, and nothing is written where nothing differs. A taint of ours goes, too, that a configuration before wanted.
    Raises errors.ClusterError.
    """
    node = await api.request("GET", _path(name), accept=JSON if wanted.with_taint else METADATA)
    problem = ""
    if wanted.with_taint:
        problem = await _bring_taint(api, name, node, wanted.taint)
    elif ANNOTATION in (node["metadata"].get("annotations") or {}):
        problem = await _bring_taint(api, name, await api.request("GET", _path(name)), None)
    if wanted.description is not None and differs(node["metadata"], wanted.description):
        await _apply(api, name, node["metadata"], wanted.description)
    return problem


def differs(metadata: Mapping[str, Any], description: Description) -> bool:
    """Return whether what is ours in `metadata` is something else than `description`."""
    sections: Mapping[Section, Mapping[str, str]] = {"labels": description.labels, "annotations": description.annotations}
    return any(
        owned(metadata, section) != {*wanted} or not wanted.items() <= (metadata.get(section) or {}).items()
        for section, wanted in sections.items()
    )


def owned(metadata: Mapping[str, Any], section: Section) -> set[str]:
    """Return the keys of a section of `metadata` that we have applied (fieldsV1: "f:labels" has "f:KEY")."""
    keys: set[str] = set()
    for entry in metadata.get("managedFields") or ():
        if entry.get("manager") == MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            fields = ((entry.get("fieldsV1") or {}).get("f:metadata") or {}).get(f"f:{section}") or {}
            keys.update(field.removeprefix("f:") for field in fields if field.startswith("f:"))
    return keys


async def take_back(api: ApiServer, name: str) -> list[str]:
    """Take what is ours off the node `name`, and return what that was, for people. Raises errors.ClusterError."""
    node = await api.request("GET", _path(name))
    metadata = node["metadata"]
    ours = recorded(metadata)
    gone = sorted(owned(metadata, "labels") | owned(metadata, "annotations"))
    if ANNOTATION in (metadata.get("annotations") or {}):
        await _bring_taint(api, name, node, None)
        gone.append(f"taint {ours}")
    if differs(metadata, Description()):
        await _apply(api, name, metadata, Description())
    return gone


def recorded(metadata: Mapping[str, Any]) -> Taint | None:
    """Return the taint that the node says is ours, None if it says of none."""
    return Taint.parse((metadata.get("annotations") or {}).get(ANNOTATION, ""))


async def _apply(api: ApiServer, name: str, metadata: Mapping[str, Any], description: Description) -> None:
    # With the uid it is this node and no other one of its name, and none is made where there is none any more.
    own = {"name": name, "uid": metadata["uid"], "labels": description.labels, "annotations": description.annotations}
    await api.request(
        "PATCH",
        _path(name),
        query={"fieldManager": MANAGER, "force": "true"},
        body={"apiVersion": "v1", "kind": "Node", "metadata": own},
        content_type=APPLY,
        accept=METADATA,
    )


async def _bring_taint(api: ApiServer, name: str, node: Object, wanted: Taint | None) -> str:
    """Bring the taint in step, whatever others write at the same time, and return what cannot be so."""
    for _ in range(MOST_CONFLICTS):
        metadata = node["metadata"]
        taints = (node.get("spec") or {}).get("taints") or []
        ours = recorded(metadata)
        change = changed(taints, wanted, ours)
        if list(change.taints) == taints and change.ours == ours and (ours or ANNOTATION not in (metadata.get("annotations") or {})):
            return change.problem
        # The version makes it a write of this list or of none: a taint that came in between would be lost otherwise.
        body = {
            "metadata": {
                "resourceVersion": metadata["resourceVersion"],
                "annotations": {ANNOTATION: str(change.ours) if change.ours else None},
            },
            "spec": {"taints": list(change.taints) or None},
        }
        try:
            await api.request("PATCH", _path(name), query={"fieldManager": MANAGER}, body=body, content_type=MERGE, accept=METADATA)
        except ApiRefused as refused:
            if refused.status != CONFLICT:
                raise
            node = await api.request("GET", _path(name))
            continue
        return change.problem
    raise ApiRefused(f"the node {name} was written by others each time that its taints were to be", CONFLICT)


def _path(name: str) -> str:
    return f"/api/v1/nodes/{name}"
