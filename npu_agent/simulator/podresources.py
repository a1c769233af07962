"""kubelet's PodResources API: which container holds which devices, behind kubelet's rate limit."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from grpclib.const import Status
from grpclib.exceptions import GRPCError

from npu_agent.api.v1 import (
    AllocatableResourcesRequest,
    AllocatableResourcesResponse,
    ContainerDevices,
    ContainerResources,
    GetPodResourcesRequest,
    GetPodResourcesResponse,
    ListPodResourcesRequest,
    ListPodResourcesResponse,
    NumaNode,
    PodResources,
    PodResourcesListerBase,
    TopologyInfo,
)
from npu_agent.simulator.devices import Devices
from npu_agent.simulator.pod_devices import NO_NODE
from npu_agent.simulator.pods import Pod

QUERIES_PER_S = 100.0
BURST = 10


@dataclass(frozen=True, slots=True)
class ListedPod:
    """A pod as PodResources sees it."""

    uid: str
    pod: Pod


class RateLimit:
    """A bucket of `burst` tokens that fills at `per_s` tokens a second."""

    def __init__(self, per_s: float, burst: int) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = time.monotonic()

    def take(self) -> bool:
        """Take one token if there is one; say whether."""
        now = time.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_s)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class PodResourcesService(PodResourcesListerBase):
    """Answers from kubelet's books; `pods` says which pods it lists. With `offers_get` false Get is refused, as older kubelets do."""

    def __init__(self, devices: Devices, pods: Callable[[], Iterable[ListedPod]], *, offers_get: bool) -> None:
        self._devices = devices
        self._pods = pods
        self._offers_get = offers_get
        self._limit = RateLimit(QUERIES_PER_S, BURST)

    async def list(self, message: ListPodResourcesRequest) -> ListPodResourcesResponse:
        self._admit()
        self._devices.collect()
        return ListPodResourcesResponse(pod_resources=[self._resources(listed) for listed in self._pods()])

    async def get(self, message: GetPodResourcesRequest) -> GetPodResourcesResponse:
        self._admit()
        if not self._offers_get:
            raise GRPCError(Status.UNKNOWN, "PodResources API Get method disabled")
        for listed in self._pods():
            if (listed.pod.namespace, listed.pod.name) == (message.pod_namespace, message.pod_name):
                return GetPodResourcesResponse(pod_resources=self._resources(listed))
        raise GRPCError(Status.UNKNOWN, f"pod {message.pod_name} in namespace {message.pod_namespace} not found")

    async def get_allocatable_resources(self, message: AllocatableResourcesRequest) -> AllocatableResourcesResponse:
        self._admit()
        rows = [
            row
            for resource, ids in self._devices.healthy.items()
            for identity in sorted(ids)
            for row in _rows(resource, identity, [node for node in self._devices.nodes(resource, identity) if node != NO_NODE])
        ]
        return AllocatableResourcesResponse(devices=rows)

    def _admit(self) -> None:
        if not self._limit.take():
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "rejected by rate limit")

    def _resources(self, listed: ListedPod) -> PodResources:
        containers = [
            ContainerResources(
                name=container.name,
                devices=[
                    row
                    for resource, held in self._devices.held.of(listed.uid, container.name).items()
                    for identity, nodes in held.nodes().items()
                    for row in _rows(resource, identity, nodes)
                ],
            )
            for container in listed.pod.in_order()
            if container.restartable or not container.init
        ]
        return PodResources(name=listed.pod.name, namespace=listed.pod.namespace, containers=containers)


def _rows(resource: str, identity: str, nodes: Iterable[int]) -> Iterable[ContainerDevices]:
    """Yield one entry for each NUMA node of a device, one without topology for a device that has none."""
    listed = False
    for node in nodes:
        listed = True
        topology = TopologyInfo(nodes=[NumaNode(id=node)])
        yield ContainerDevices(resource_name=resource, device_ids=[identity], topology=topology)
    if not listed:
        yield ContainerDevices(resource_name=resource, device_ids=[identity])
