"""Who holds which device, and which devices kubelet has, asked of kubelet's PodResources API."""

import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from npu_agent.core.registration import Holder
from npu_agent.core.text import printable
from npu_agent.observe.errors import HoldersUnknown
from npu_agent.rpc.calls import call
from npu_agent.rpc.channel import BoundedChannel

if TYPE_CHECKING:
    from npu_agent.api.v1 import PodResourcesListerStub

ANSWER_TIMEOUT_S = 2.0

MOST_BYTES = 16 * 1024 * 1024
"""Bytes of an answer: it has all pods and all devices of the node."""

MOST_FIELDS = 200_000
"""Fields of an answer: a device is about six."""

Holders = Mapping[tuple[str, str], tuple[Holder, ...]]
"""By resource name and device id. More than one holder is a device that was handed out twice."""

T = TypeVar("T")


class PodResources:
    """kubelet's PodResources, asked by one caller at a time.

    kubelet limits such calls to 10 at once and 100 in a second, over all who ask.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._asking = anyio.Lock()

    async def holders(self) -> Holders:
        """Return the containers that hold devices now, by kubelet's word. Raises HoldersUnknown."""
        from npu_agent.api.v1 import ListPodResourcesRequest

        answer = await self._ask(lambda stub: stub.list(ListPodResourcesRequest()))
        # kubelet repeats a device for each NUMA node that it has, so each holder is put down once.
        found: dict[tuple[str, str], dict[Holder, None]] = {}
        for pod in answer.pod_resources:
            for container in pod.containers:
                for devices in container.devices:
                    for id in devices.device_ids:
                        found.setdefault((devices.resource_name, id), {})[Holder(pod.namespace, pod.name, container.name)] = None
        return {key: tuple(holders) for key, holders in found.items()}

    async def allocatable(self) -> Mapping[str, frozenset[str]]:
        """Return the ids of the devices that kubelet has as healthy now, held ones too, by resource name. Raises HoldersUnknown."""
        from npu_agent.api.v1 import AllocatableResourcesRequest

        answer = await self._ask(lambda stub: stub.get_allocatable_resources(AllocatableResourcesRequest()))
        found: dict[str, set[str]] = {}
        for devices in answer.devices:
            found.setdefault(devices.resource_name, set()).update(devices.device_ids)
        return {resource: frozenset(ids) for resource, ids in found.items()}

    async def _ask(self, question: "Callable[[PodResourcesListerStub], Awaitable[T]]") -> T:
        # Imported when somebody asks, so that every agent starts 5 ms sooner.
        from npu_agent.api.v1 import PodResourcesListerStub

        async with self._asking:
            channel = BoundedChannel(self._socket, most_bytes=MOST_BYTES, most_fields=MOST_FIELDS)

            async def asked() -> T:
                return await question(PodResourcesListerStub(channel))

            try:
                with anyio.fail_after(ANSWER_TIMEOUT_S):
                    return await call(asked())
            except GRPCError as error:
                raise HoldersUnknown(
                    f"kubelet refused to say who holds devices: {printable(error.message or error.status.name)}"
                ) from error
            except TimeoutError as error:
                raise HoldersUnknown(f"kubelet did not say within {ANSWER_TIMEOUT_S:g} s who holds devices ({self._socket})") from error
            except PermissionError as error:
                raise HoldersUnknown(
                    f"kubelet cannot be asked who holds devices: {self._socket} may not be used by user {os.geteuid()}; run this as root"
                ) from error
            except (OSError, StreamTerminatedError, ProtocolError) as error:
                text = error.strerror if isinstance(error, OSError) and error.strerror else printable(str(error))
                raise HoldersUnknown(
                    f"kubelet cannot be asked who holds devices: {self._socket}: {text}; mount the folder, or see --pod-resources"
                ) from error
            finally:
                channel.close()
