"""The DevicePlugin service of one resource: the five calls that kubelet makes."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence

import anyio
from grpclib.const import Status

from npu_agent.api.v1beta1 import (
    AllocateRequest,
    AllocateResponse,
    ContainerPreferredAllocationRequest,
    ContainerPreferredAllocationResponse,
    DevicePluginBase,
    DevicePluginOptions,
    Empty,
    ListAndWatchResponse,
    PreferredAllocationRequest,
    PreferredAllocationResponse,
    PreStartContainerRequest,
    PreStartContainerResponse,
)
from npu_agent.core.accelerator import ContainerEdits
from npu_agent.core.errors import AllocationError
from npu_agent.core.host import Host
from npu_agent.core.pool import Device, Pool
from npu_agent.core.preferred import prefer
from npu_agent.core.text import printable
from npu_agent.deviceplugin.answers import allocate_answer
from npu_agent.deviceplugin.lists import DeviceList
from npu_agent.flow.current import Current
from npu_agent.rpc.requests import refusal, whole

ALLOCATE_TIMEOUT_S = 5.0
"""kubelet waits for Allocate for ever, and no other pod of the node starts meanwhile (docs/kubelet.md, "Allocation")."""

PRE_START_TIMEOUT_S = 25.0
"""kubelet gives up after 30 s and then says nothing of the cause; we answer before that."""

MOST_CONTAINERS = 64
"""Containers in one call. kubelet asks for one at a time."""

SPARE_IDS = 1000
"""Ids beyond twice those of the pool that a question for a preference may have: kubelet may know devices that have just gone."""

SHOWN_IDS = 5

log = logging.getLogger(__name__)


class DevicePluginService(DevicePluginBase):
    """Answers kubelet for one resource on one socket.

    `lists` is the list that kubelet is to have; None in it ends all streams in order. `on_stream` is called with +1 and -1 as
    ListAndWatch streams come and go.
    """

    def __init__(
        self, pool: Current[Pool], lists: Current[DeviceList | None], host: Host, on_stream: Callable[[int], None] = lambda change: None
    ) -> None:
        self._pool = pool
        self._lists = lists
        self._host = host
        self._on_stream = on_stream

    async def get_device_plugin_options(self, message: Empty) -> DevicePluginOptions:
        """Say which of the optional calls we take."""
        return DevicePluginOptions(pre_start_required=self._pool.value.pre_start, get_preferred_allocation_available=True)

    async def list_and_watch(self, message: Empty) -> AsyncIterator[ListAndWatchResponse]:
        """Send the list at once and then whenever it differs from the one sent last: kubelet writes to disk for each."""
        self._on_stream(+1)
        try:
            async for devices in self._lists.follow():
                if devices is None:
                    return
                yield devices
        finally:
            self._on_stream(-1)

    async def get_preferred_allocation(self, message: PreferredAllocationRequest) -> PreferredAllocationResponse:
        """Say which devices belong together. It never fails: an error here would cost the pod its admission."""
        request = await whole(message)
        asked = sum(
            len(container.available_device_ids) + len(container.must_include_device_ids) for container in request.container_requests
        )
        if asked > 2 * len(self._pool.value.devices) + SPARE_IDS:
            # It is not kubelet that asks for more than there is. Without a preference kubelet would choose by itself.
            return PreferredAllocationResponse(container_responses=[ContainerPreferredAllocationResponse()])
        answers = []
        for number, container in enumerate(request.container_requests[:MOST_CONTAINERS]):
            if number:
                await anyio.lowlevel.checkpoint()
            answers.append(ContainerPreferredAllocationResponse(device_ids=self._preferred(container)))
        return PreferredAllocationResponse(container_responses=answers)

    def _preferred(self, request: ContainerPreferredAllocationRequest) -> list[str]:
        pool = self._pool.value
        available, must, size = request.available_device_ids, request.must_include_device_ids, request.allocation_size
        try:
            return prefer(pool, available, must, size)
        except Exception:
            log.exception("%s: no preference could be found for %d of %d devices", pool.resource, size, len(available))
            return list(dict.fromkeys([*must, *available]))[: max(size, 0)]

    async def allocate(self, message: AllocateRequest) -> AllocateResponse:
        """Say what each container needs to use its devices."""
        request = await whole(message)
        if len(request.container_requests) > MOST_CONTAINERS:
            text = f"{len(request.container_requests)} containers are asked for at once, and at most {MOST_CONTAINERS} are answered"
            raise refusal(Status.INVALID_ARGUMENT, text)
        return allocate_answer([await self._edits(container.device_ids) for container in request.container_requests])

    async def _edits(self, ids: Sequence[str]) -> ContainerEdits:
        devices = self._devices(ids)
        for device in devices:
            if not device.health.healthy:
                text = f"device {device.id} is unhealthy: {device.health.reason}; start the pod again to get another"
                raise refusal(Status.FAILED_PRECONDITION, text)
        resource = self._pool.value.resource
        if self._pool.value.policy == "apart" and (pair := _of_one_card(devices)):
            one, other = pair
            text = f"{one.id} and {other.id} are of one card, {one.accelerator_id}, and {resource} gives a container one of each card"
            raise refusal(Status.FAILED_PRECONDITION, f"{text}; ask for no more than there are cards, or start the pod again")
        try:
            with anyio.fail_after(ALLOCATE_TIMEOUT_S):
                edits = await self._host.allocate(resource, devices)
        except AllocationError as error:
            raise refusal(Status.FAILED_PRECONDITION, str(error)) from error
        except TimeoutError as error:
            text = f"the device nodes of {_some(ids)} could not be looked at within {ALLOCATE_TIMEOUT_S:g} s; see npu-agent list"
            raise refusal(Status.DEADLINE_EXCEEDED, text) from error
        fields = {"resource": resource, "devices": ids[:SHOWN_IDS]}
        log.debug("%s: %s is given to a container", resource, _some(ids), extra={"event": "allocated", "fields": fields})
        return edits

    async def pre_start_container(self, message: PreStartContainerRequest) -> PreStartContainerResponse:
        """Prepare devices for a container that is about to start, where a backend wants that."""
        request = await whole(message)
        devices = self._devices(request.device_ids)
        try:
            with anyio.fail_after(PRE_START_TIMEOUT_S):
                await self._host.prepare(devices)
        except AllocationError as error:
            raise refusal(Status.FAILED_PRECONDITION, str(error)) from error
        except TimeoutError as error:
            text = f"{_some(request.device_ids)} could not be prepared within {PRE_START_TIMEOUT_S:g} s; see npu-agent list"
            raise refusal(Status.DEADLINE_EXCEEDED, text) from error
        return PreStartContainerResponse()

    def _devices(self, ids: Sequence[str]) -> list[Device]:
        pool = self._pool.value
        if len(ids) > len(pool.devices):
            there_are = f"{pool.resource} has {len(pool.devices)} devices, and {len(ids)} are asked for ({_some(ids)})"
            raise refusal(Status.NOT_FOUND, f"{there_are}; start the pod again to get one of those that npu-agent list shows")
        known = {device.id: device for device in pool.devices}
        if missing := [id for id in ids if id not in known]:
            text = f"{pool.resource} has no device {_some(missing)} any more"
            raise refusal(Status.NOT_FOUND, f"{text}; start the pod again to get one of those that npu-agent list shows")
        return [known[id] for id in ids]


def _of_one_card(devices: Sequence[Device]) -> tuple[Device, Device] | None:
    """Return the first two different devices that share a card."""
    first: dict[str, Device] = {}
    for device in devices:
        if first.setdefault(device.accelerator_id, device).id != device.id:
            return first[device.accelerator_id], device
    return None


def _some(ids: Sequence[str]) -> str:
    """Return the first of `ids` and how many more there are."""
    more = f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else ""
    return ", ".join(printable(id, 80) for id in ids[:SHOWN_IDS]) + more
