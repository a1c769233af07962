"""Admission: which devices a container gets, what the plugin is asked for it, and what is refused in which words."""

import logging
import random
from collections.abc import Set

import anyio
from grpclib.exceptions import GRPCError, StreamTerminatedError

from npu_agent.api.v1beta1 import (
    AllocateRequest,
    ContainerAllocateRequest,
    ContainerAllocateResponse,
    ContainerPreferredAllocationRequest,
    PreferredAllocationRequest,
    PreStartContainerRequest,
)
from npu_agent.simulator.devices import Devices
from npu_agent.simulator.errors import UNEXPECTED_ADMISSION_ERROR, DeviceError, PodRejected, go_text
from npu_agent.simulator.pod_devices import Held, Holding
from npu_agent.simulator.pods import Container, Pod

PRE_START_TIMEOUT_S = 30.0

CALL_ERRORS = (GRPCError, StreamTerminatedError, OSError, TimeoutError)
"""How a call to a plugin can fail."""

log = logging.getLogger(__name__)


class Allocator:
    """Admits pods one after another and prepares the start of their containers, on one state of devices.

    It is kubelet without a policy of its topology manager, which is the default: NUMA nodes are noted and never aligned to.
    """

    def __init__(self, devices: Devices, rng: random.Random, *, knows_sidecars: bool) -> None:
        self._devices = devices
        self._rng = rng
        self._knows_sidecars = knows_sidecars
        self._turn = anyio.Lock()

    async def admit(self, pod_uid: str, pod: Pod) -> None:
        """Give the pod's containers their devices. Raises PodRejected.

        While a plugin does not answer nothing else on the node is admitted, and no time limit ends that.
        """
        async with self._turn:
            reusable: dict[str, set[str]] = {}
            for container in pod.in_order():
                try:
                    await self._allocate(pod_uid, container, reusable)
                except DeviceError as error:
                    message = f"Pod was rejected: Allocate failed due to {error}, which is unexpected"
                    raise PodRejected(UNEXPECTED_ADMISSION_ERROR, message) from error
                for resource, held in self._devices.held.of(pod_uid, container.name).items():
                    # Devices of an ordinary init container are free for those after it; a sidecar and the others keep theirs.
                    if container.init and not (container.restartable and self._knows_sidecars):
                        reusable.setdefault(resource, set()).update(held.ids)
                    else:
                        reusable.setdefault(resource, set()).difference_update(held.ids)

    async def prepare_start(self, pod_uid: str, container: Container) -> ContainerAllocateResponse:
        """Return what a container that starts now is given, all its resources together. Raises DeviceError.

        The plugin is told of the start if it wants to be. It is asked to allocate only if kubelet has no answer of it any more.
        """
        for resource, count in container.devices.items():
            if not self._devices.is_plugin_resource(resource) or count == 0:
                continue
            await self._pre_start(pod_uid, container.name, resource)
            if resource not in self._devices.held.of(pod_uid, container.name):
                async with self._turn:
                    await self._allocate(pod_uid, container, {})
        return merged([held.response for held in self._devices.held.of(pod_uid, container.name).values()])

    async def _pre_start(self, pod_uid: str, container: str, resource: str) -> None:
        endpoint = self._devices.endpoints.get(resource)
        if endpoint is None:
            raise DeviceError(f"endpoint not found in cache for a registered resource: {resource}")
        if endpoint.options is None or not endpoint.options.pre_start_required:
            return
        held = self._devices.held.of(pod_uid, container).get(resource)
        if held is None:
            raise DeviceError(f"no devices found allocated in local cache for pod {pod_uid}, container {container}, resource {resource}")
        request = PreStartContainerRequest(device_ids=self._shuffled(held.ids))
        try:
            await endpoint.reachable().stub.pre_start_container(request, timeout=PRE_START_TIMEOUT_S)
        except CALL_ERRORS as error:
            raise DeviceError(f"device plugin PreStartContainer rpc failed with err: {go_text(error)}") from error

    async def _allocate(self, pod_uid: str, container: Container, reusable: dict[str, set[str]]) -> None:
        changed = False
        for resource, count in container.devices.items():
            if not self._devices.is_plugin_resource(resource):
                continue
            self._devices.collect()
            ids = await self._choose(pod_uid, container.name, resource, count, reusable.get(resource, set()))
            if not ids:
                continue
            changed = True
            response = await self._ask(resource, ids)
            by_node: dict[int, list[str]] = {}
            for identity in sorted(ids):
                for node in self._devices.nodes(resource, identity):
                    by_node.setdefault(node, []).append(identity)
            held = Held({node: tuple(listed) for node, listed in by_node.items()}, response)
            self._devices.held.insert(Holding(pod_uid, container.name, resource, held))
        if changed:
            self._devices.save()

    async def _ask(self, resource: str, ids: Set[str]) -> ContainerAllocateResponse:
        endpoint = self._devices.endpoints.get(resource)
        try:
            if endpoint is None:
                raise DeviceError(f"unknown Device Plugin {resource}")
            request = AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=self._shuffled(ids))])
            log.info("%s: Allocate %s", resource, ", ".join(sorted(ids)))
            answer = await endpoint.reachable().stub.allocate(request)
        except (DeviceError, *CALL_ERRORS) as error:
            self._devices.allocated = self._devices.held.by_resource()
            raise error if isinstance(error, DeviceError) else DeviceError(go_text(error)) from error
        if not answer.container_responses:
            # kubelet does not take the devices back here: they leak until it sums up anew.
            raise DeviceError(f"no containers return in allocation response {answer}")
        return answer.container_responses[0]

    async def _choose(self, pod_uid: str, container: str, resource: str, required: int, reusable: Set[str]) -> set[str]:
        """Return the devices that a container is to get beyond those it has, in the order of kubelet's own checks."""
        had = self._devices.held.of(pod_uid, container).get(resource)
        if had is not None and len(had.ids) != required:
            raise DeviceError(
                f'pod "{pod_uid}" container "{container}" changed request for resource "{resource}" from {len(had.ids)} to {required}'
            )
        if resource not in self._devices.healthy:
            raise DeviceError(f"cannot allocate unregistered device {resource}")
        healthy = self._devices.healthy[resource]
        if not healthy:
            raise DeviceError(f"no healthy devices present; cannot allocate unhealthy devices {resource}")
        if had is not None:
            if not had.ids <= healthy:
                raise DeviceError(f"previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}")
            return set()
        if required == 0:
            return set()

        chosen = set(self._pick(reusable, required))
        self._take(resource, chosen)
        if len(chosen) == required:
            return chosen
        available = healthy - self._devices.allocated.get(resource, set())
        needed = required - len(chosen)
        if len(available) < needed:
            raise DeviceError(f"requested number of devices unavailable for {resource}. Requested: {needed}, Available: {len(available)}")
        preferred = await self._preferred(resource, available | chosen, chosen, required)
        chosen.update(self._pick((preferred & available) - chosen, needed))
        chosen.update(self._pick(available - chosen, required - len(chosen)))
        self._take(resource, chosen)
        return chosen

    async def _preferred(self, resource: str, available: Set[str], must_include: Set[str], size: int) -> set[str]:
        endpoint = self._devices.endpoints.get(resource)
        if endpoint is None:
            raise DeviceError(f"endpoint not found in cache for a registered resource: {resource}")
        if endpoint.options is None or not endpoint.options.get_preferred_allocation_available:
            return set()
        request = ContainerPreferredAllocationRequest(
            available_device_ids=self._shuffled(available), must_include_device_ids=self._shuffled(must_include), allocation_size=size
        )
        try:
            answer = await endpoint.reachable().stub.get_preferred_allocation(PreferredAllocationRequest(container_requests=[request]))
        except DeviceError as error:
            raise DeviceError(f"device plugin GetPreferredAllocation rpc failed with err: {error}") from error
        except CALL_ERRORS as error:
            raise DeviceError(f"device plugin GetPreferredAllocation rpc failed with err: {go_text(error)}") from error
        preferred = answer.container_responses[0].device_ids if answer.container_responses else []
        log.info("%s: of %d available devices the plugin prefers %s", resource, len(available), ", ".join(preferred) or "none")
        return set(preferred)

    def _take(self, resource: str, ids: Set[str]) -> None:
        self._devices.allocated.setdefault(resource, set()).update(ids)

    def _pick(self, ids: Set[str], count: int) -> list[str]:
        """Return up to `count` ids by chance, as the order of a Go map is."""
        return self._shuffled(ids)[: max(0, count)]

    def _shuffled(self, ids: Set[str]) -> list[str]:
        return self._rng.sample(sorted(ids), len(ids))


def merged(responses: list[ContainerAllocateResponse]) -> ContainerAllocateResponse:
    """Return what several resources give one container: for each key the first one seen wins, and a conflict is only logged."""
    whole = ContainerAllocateResponse()
    for response in responses:
        for name, value in response.envs.items():
            if whole.envs.setdefault(name, value) != value:
                log.error("environment variable has conflicting setting: %s", name)
        for name, value in response.annotations.items():
            if whole.annotations.setdefault(name, value) != value:
                log.error("annotation has conflicting setting: %s", name)
        whole.devices += [new for new in response.devices if all(new.container_path != old.container_path for old in whole.devices)]
        whole.mounts += [new for new in response.mounts if all(new.container_path != old.container_path for old in whole.mounts)]
        whole.cdi_devices += [new for new in response.cdi_devices if all(new.name != old.name for old in whole.cdi_devices)]
    return whole
