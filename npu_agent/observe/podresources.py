"""Who holds which device, asked of kubelet's PodResources API."""

from collections.abc import Mapping
from pathlib import Path

import anyio
from grpclib.client import Channel
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from npu_agent.core.registration import Holder
from npu_agent.rpc.calls import call

LIST_TIMEOUT_S = 2.0

Holders = Mapping[tuple[str, str], tuple[Holder, ...]]
"""By resource name and device id. More than one holder is a device that was handed out twice."""


class HoldersUnknown(Exception):
    """kubelet could not be asked who holds what; the text says why and what to do."""


async def list_holders(socket: Path) -> Holders:
    """Return the containers that hold devices now, by kubelet's word. Raises HoldersUnknown.

    kubelet limits such calls to 10 at once and 100 in a second, over all who ask.
    """
    # Imported when somebody asks, so that every agent starts 5 ms sooner.
    from npu_agent.api.v1 import ListPodResourcesRequest, PodResourcesListerStub

    channel = Channel(path=str(socket))
    try:
        with anyio.fail_after(LIST_TIMEOUT_S):
            answer = await call(PodResourcesListerStub(channel).list(ListPodResourcesRequest()))
    except GRPCError as error:
        raise HoldersUnknown(f"kubelet refused to say who holds devices: {error.message}") from error
    except TimeoutError as error:
        raise HoldersUnknown(f"kubelet did not say within {LIST_TIMEOUT_S:g} s who holds devices ({socket})") from error
    except (OSError, StreamTerminatedError, ProtocolError) as error:
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise HoldersUnknown(
            f"kubelet cannot be asked who holds devices: {socket}: {text}; mount the folder, or see --pod-resources"
        ) from error
    finally:
        channel.close()
    # kubelet repeats a device for each NUMA node that it has, so each holder is put down once.
    found: dict[tuple[str, str], dict[Holder, None]] = {}
    for pod in answer.pod_resources:
        for container in pod.containers:
            for devices in container.devices:
                for id in devices.device_ids:
                    found.setdefault((devices.resource_name, id), {})[Holder(pod.namespace, pod.name, container.name)] = None
    return {key: tuple(holders) for key, holders in found.items()}
