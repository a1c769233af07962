"""The DevicePlugin service of one resource: the five calls that kubelet makes."""

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

import anyio
from grpclib.const import Status
from grpclib.exceptions import GRPCError

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
from npu_agent.core.pool import Device, Pool
from npu_agent.core.preferred import prefer
from npu_agent.deviceplugin.answers import allocate_answer
from npu_agent.deviceplugin.lists import DeviceList
from npu_agent.flow.current import Current

ALLOCATE_TIMEOUT_S = 5.0
"""kubelet waits for Allocate for ever, and no other pod of the node starts meanwhile (docs/kubelet.md, "Allocation")."""

PRE_START_TIMEOUT_S = 25.0
"""kubelet gives up after 30 s and then says nothing of the cause; we answer before that."""

log = logging.getLogger(__name__)


class Host(Protocol):
    """What the service needs of the rest of the agent."""

    async def allocate(self, resource: str, devices: Sequence[Device]) -> ContainerEdits:
        """Return what a container needs to use all of `devices`, with every node seen on the host. Raises AllocationError."""

    async def prepare(self, devices: Sequence[Device]) -> None:
        """Prepare `devices` for a container that is about to start. Raises AllocationError."""


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
        return PreferredAllocationResponse(
            container_responses=[
                ContainerPreferredAllocationResponse(device_ids=self._preferred(request)) for request in message.container_requests
            ]
        )

    def _preferred(self, request: ContainerPreferredAllocationRequest) -> list[str]:
        try:
            return prefer(self._pool.value, request.available_device_ids, request.must_include_device_ids, request.allocation_size)
        except Exception:
            log.exception("%s: no preference could be found for %r; the first devices are taken", self._pool.value.resource, request)
            first = dict.fromkeys([*request.must_include_device_ids, *request.available_device_ids])
            return list(first)[: max(request.allocation_size, 0)]

    async def allocate(self, message: AllocateRequest) -> AllocateResponse:
        """Say what each container needs to use its devices. Nothing is kept: kubelet never tells when an allocation ends."""
        return allocate_answer([await self._edits(request.device_ids) for request in message.container_requests])

    async def _edits(self, ids: Sequence[str]) -> ContainerEdits:
        devices = self._devices(ids)
        for device in devices:
            if not device.health.healthy:
                raise GRPCError(
                    Status.FAILED_PRECONDITION,
                    f"device {device.id} is unhealthy: {device.health.reason}; start the pod again to get another",
                )
        try:
            with anyio.fail_after(ALLOCATE_TIMEOUT_S):
                return await self._host.allocate(self._pool.value.resource, devices)
        except AllocationError as error:
            raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error
        except TimeoutError as error:
            text = f"the device nodes of {', '.join(ids)} could not be looked at within {ALLOCATE_TIMEOUT_S:g} s; see npu-agent list"
            raise GRPCError(Status.DEADLINE_EXCEEDED, text) from error

    async def pre_start_container(self, message: PreStartContainerRequest) -> PreStartContainerResponse:
        """Prepare devices for a container that is about to start, where a backend wants that."""
        devices = self._devices(message.device_ids)
        try:
            with anyio.fail_after(PRE_START_TIMEOUT_S):
                await self._host.prepare(devices)
        except AllocationError as error:
            raise GRPCError(Status.FAILED_PRECONDITION, str(error)) from error
        except TimeoutError as error:
            text = f"{', '.join(message.device_ids)} could not be prepared within {PRE_START_TIMEOUT_S:g} s; see npu-agent list"
            raise GRPCError(Status.DEADLINE_EXCEEDED, text) from error
        return PreStartContainerResponse()

    def _devices(self, ids: Sequence[str]) -> list[Device]:
        pool = self._pool.value
        known = {device.id: device for device in pool.devices}
        if missing := [identity for identity in ids if identity not in known]:
            text = f"{pool.resource} has no device {', '.join(missing)} any more"
            raise GRPCError(Status.NOT_FOUND, f"{text}; start the pod again to get one of those that npu-agent list shows")
        return [known[identity] for identity in ids]
