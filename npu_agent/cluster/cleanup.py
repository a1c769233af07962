"""Taking back all that agents have said of nodes: labels, annotations and taints, and nothing of anybody else."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import anyio

from npu_agent.cluster.client import ApiServer
from npu_agent.cluster.errors import ApiRefused, ClusterError
from npu_agent.cluster.node import MANAGER, take_back

PAGE = "100"
"""Nodes that are listed at once. Each is its metadata alone, some KiB."""

NOT_FOUND = 404
TRIES = 3


@dataclass(frozen=True, slots=True)
class Cleaned:
    """What was taken off a node, or what kept us from it (`problem`)."""

    node: str
    gone: tuple[str, ...] = ()
    problem: str = ""


async def clean(api: ApiServer, name: str) -> Cleaned:
    """Take what is ours off the node `name`. A node that is not there has nothing of ours."""
    problem = ""
    for attempt in range(TRIES):
        try:
            return Cleaned(name, tuple(await take_back(api, name)))
        except ClusterError as error:
            if isinstance(error, ApiRefused) and error.status == NOT_FOUND:
                return Cleaned(name)
            problem = str(error)
            if attempt + 1 < TRIES:
                await anyio.sleep(1.0 + attempt)
    return Cleaned(name, problem=problem)


async def clean_all(api: ApiServer) -> AsyncIterator[Cleaned]:
    """Take what is ours off all nodes of the cluster, one after another. Raises errors.ClusterError where they cannot be listed."""
    query = {"limit": PAGE}
    accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
    while True:
        page = await api.request("GET", "/api/v1/nodes", query=query, accept=accept)
        for node in page.get("items", ()):
            if any(entry.get("manager") == MANAGER for entry in node["metadata"].get("managedFields") or ()):
                yield await clean(api, node["metadata"]["name"])
        following = page.get("metadata", {}).get("continue", "")
        if not following:
            return
        query = {"limit": PAGE, "continue": following}
