"""A device plugin of a few lines, which does as it is told and keeps what kubelet asked."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

import anyio
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.metadata import Deadline

from npu_agent.api.v1beta1 import (
    AllocateRequest,
    AllocateResponse,
    ContainerAllocateResponse,
    ContainerPreferredAllocationResponse,
    Device,
    DevicePluginBase,
    DevicePluginOptions,
    DeviceSpec,
    Empty,
    ListAndWatchResponse,
    NumaNode,
    PreferredAllocationRequest,
    PreferredAllocationResponse,
    PreStartContainerRequest,
    PreStartContainerResponse,
    RegisterRequest,
    RegistrationStub,
    TopologyInfo,
)
from npu_agent.flow.current import Current
from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.sockets import Listener

RESOURCE = "example.com/card"


async def shows(kubelet: SimulatedKubelet, capacity: int, allocatable: int, *, resource: str = RESOURCE) -> None:
    """Return when the node shows that; fail after a while."""
    await until(kubelet, lambda: kubelet.quantities().get(resource) == Quantity(capacity, allocatable))


async def until(kubelet: SimulatedKubelet, condition: Callable[[], bool]) -> None:
    """Return when `condition` holds, which is looked at after each change that kubelet sees; fail after a while."""
    with anyio.fail_after(5):
        await kubelet.until(condition)


async def register(
    plugin_dir: Path,
    endpoint: str,
    *,
    resource: str = RESOURCE,
    version: str = "v1beta1",
    timeout_s: float = 15.0,
    told_s: float | None = None,
) -> GRPCError | None:
    """Register; return kubelet's refusal, or None.

    The call is given up after `timeout_s`. `told_s` is the deadline that kubelet is told of, if it is another one.
    """
    deadline = _Deadline(timeout_s, told_s if told_s is not None else timeout_s)
    async with Channel(path=str(plugin_dir / "kubelet.sock")) as channel:
        request = RegisterRequest(version=version, endpoint=endpoint, resource_name=resource)
        try:
            await RegistrationStub(channel).register(request, deadline=deadline)
        except GRPCError as refusal:
            return refusal
    return None


class _Deadline(Deadline):
    """A deadline that is another one for the caller than for whom it calls."""

    def __init__(self, timeout_s: float, told_s: float) -> None:
        super().__init__(_timestamp=time.monotonic() + timeout_s)
        self._told_s = told_s
        self._has_begun = False

    def time_remaining(self) -> float:
        # grpclib asks for its own timer when the call begins, and then for what it sends.
        begun, self._has_begun = self._has_begun, True
        return self._told_s if begun else super().time_remaining()


class Plugin(DevicePluginBase):
    """Serves `devices` (None ends the stream in order) on `endpoint`. The attributes say how it answers and may be changed."""

    def __init__(self, plugin_dir: Path, endpoint: str = "card.sock", *, resource: str = RESOURCE, **health: bool) -> None:
        self.endpoint = endpoint
        self.resource = resource
        self.plugin_dir = plugin_dir
        self.devices: Current[Mapping[str, bool] | None] = Current(health)
        self.options = DevicePluginOptions()
        self.numa: Mapping[str, Sequence[int]] = {}
        self.options_error: GRPCError | None = None
        self.allocate_error: GRPCError | None = None
        self.answers_allocate_with_nothing = False
        self.prefer: Callable[[Sequence[str], Sequence[str], int], Sequence[str]] = lambda available, must, size: sorted(available)[:size]
        self.pre_start_errors: list[GRPCError] = []
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.preferences: list[tuple[frozenset[str], frozenset[str], int]] = []
        self.options_awaited = 0
        """Calls of GetDevicePluginOptions that kubelet waits for now."""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.allocate_called = asyncio.Event()
        self._listener = Listener(plugin_dir / endpoint, [self])

    async def __aenter__(self) -> "Plugin":
        self._listener.bind()
        await self._listener.listen()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._listener.end()

    def cut(self) -> None:
        self._listener.cut()

    async def register(self) -> GRPCError | None:
        return await register(self.plugin_dir, self.endpoint, resource=self.resource)

    def calls_of(self, call: str) -> list[tuple[str, ...]]:
        """Return the arguments of each call of that name so far."""
        return [arguments for name, arguments in self.calls if name == call]

    async def get_device_plugin_options(self, message: Empty) -> DevicePluginOptions:
        self.calls.append(("options", ()))
        self.options_awaited += 1
        try:
            await self.may_answer.wait()
        finally:
            self.options_awaited -= 1
        if self.options_error is not None:
            raise self.options_error
        return self.options

    async def list_and_watch(self, message: Empty) -> AsyncIterator[ListAndWatchResponse]:
        self.calls.append(("list", ()))
        async for devices in self.devices.follow():
            if devices is None:
                return
            yield ListAndWatchResponse(devices=[self._device(name, healthy) for name, healthy in devices.items()])

    def _device(self, name: str, healthy: bool) -> Device:
        nodes = [NumaNode(id=node) for node in self.numa.get(name, ())]
        return Device(id=name, health="Healthy" if healthy else "Unhealthy", topology=TopologyInfo(nodes=nodes) if nodes else None)

    async def get_preferred_allocation(self, message: PreferredAllocationRequest) -> PreferredAllocationResponse:
        (request,) = message.container_requests
        available, must = request.available_device_ids, request.must_include_device_ids
        self.preferences.append((frozenset(available), frozenset(must), request.allocation_size))
        ids = list(self.prefer(available, must, request.allocation_size))
        return PreferredAllocationResponse(container_responses=[ContainerPreferredAllocationResponse(device_ids=ids)])

    async def allocate(self, message: AllocateRequest) -> AllocateResponse:
        (request,) = message.container_requests
        self.calls.append(("allocate", tuple(sorted(request.device_ids))))
        self.allocate_called.set()
        await self.may_answer.wait()
        if self.allocate_error is not None:
            raise self.allocate_error
        if self.answers_allocate_with_nothing:
            return AllocateResponse()
        nodes = [DeviceSpec(container_path=f"/dev/{name}", host_path=f"/dev/{name}", permissions="rw") for name in request.device_ids]
        return AllocateResponse(container_responses=[ContainerAllocateResponse(envs={"CARD_CALLS": str(len(self.calls))}, devices=nodes)])

    async def pre_start_container(self, message: PreStartContainerRequest) -> PreStartContainerResponse:
        self.calls.append(("pre-start", tuple(sorted(message.device_ids))))
        await self.may_answer.wait()
        if self.pre_start_errors:
            raise self.pre_start_errors.pop(0)
        return PreStartContainerResponse()


def unknown(text: str) -> GRPCError:
    return GRPCError(Status.UNKNOWN, text)
