"""What kubelet has of devices, asked beside the API server."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import anyio
from grpclib.client import Channel

from npu_agent.api.v1 import AllocatableResourcesRequest, ListPodResourcesRequest, PodResourcesListerStub
from tests.cluster.node import ClusterNode

# Kubelet answers a hundred questions a second and the agent has some, too.
_LOOKS_EACH_S = 0.04
_ANSWERS_WITHIN_S = 10.0


async def allocatable_now(node: ClusterNode) -> int:
    """Return how many devices of any resource kubelet would give out now or has given."""
    async with Channel(path=str(_socket(node))) as channel:
        answer = await PodResourcesListerStub(channel).get_allocatable_resources(AllocatableResourcesRequest(), timeout=_ANSWERS_WITHIN_S)
    return sum(len(row.device_ids) for row in answer.devices)


async def held(node: ClusterNode, namespace: str) -> Mapping[str, frozenset[str]]:
    """Return the devices of each pod of a namespace that has some."""
    async with Channel(path=str(_socket(node))) as channel:
        answer = await PodResourcesListerStub(channel).list(ListPodResourcesRequest(), timeout=_ANSWERS_WITHIN_S)
    pods = {
        pod.name: frozenset(id for container in pod.containers for row in container.devices for id in row.device_ids)
        for pod in answer.pod_resources
        if pod.namespace == namespace
    }
    return {name: ids for name, ids in pods.items() if ids}


@dataclass
class Watch:
    """How many devices kubelet had, look by look: when, in seconds of the monotonic clock, and how many."""

    seen: list[tuple[float, int]] = field(default_factory=list)

    @property
    def least(self) -> int:
        return min(count for _, count in self.seen)

    def longest_at_zero_s(self) -> float:
        """Return the longest time for which there was none, from the first look that said so to the next that did not."""
        longest, since = 0.0, None
        for at, count in self.seen:
            if count == 0:
                since = at if since is None else since
            if since is not None:
                longest = max(longest, at - since)
            if count != 0:
                since = None
        return longest


@asynccontextmanager
async def watch_allocatable(node: ClusterNode) -> AsyncIterator[Watch]:
    """Look all the time what kubelet has."""
    watch = Watch()

    async def look() -> None:
        while True:
            watch.seen.append((time.monotonic(), await allocatable_now(node)))
            await anyio.sleep(_LOOKS_EACH_S)

    async with anyio.create_task_group() as looking:
        looking.start_soon(look)
        yield watch
        looking.cancel_scope.cancel()


def _socket(node: ClusterNode) -> str:
    return str(node.kubelet_dir / "pod-resources" / "kubelet.sock")
