"""What a kubelet keeps of pods and devices, read where any of them offers it: PodResources and the checkpoint."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from grpclib.client import Channel

from npu_agent.api.v1 import ListPodResourcesRequest, PodResourcesListerStub
from npu_agent.api.v1beta1 import ContainerAllocateResponse

ANSWERS_WITHIN_S = 10.0


async def devices_held(kubelet_dir: Path, pod_name: str) -> Mapping[str, Mapping[str, frozenset[str]]]:
    """Return `Node.devices` of the pod that PodResources calls so."""
    async with Channel(path=str(kubelet_dir / "pod-resources" / "kubelet.sock")) as channel:
        listed = await PodResourcesListerStub(channel).list(ListPodResourcesRequest(), timeout=ANSWERS_WITHIN_S)
    held: dict[str, dict[str, frozenset[str]]] = {}
    for pod in listed.pod_resources:
        for container in pod.containers if pod.name == pod_name else ():
            resources = held.setdefault(container.name, {})
            for row in container.devices:
                resources[row.resource_name] = resources.get(row.resource_name, frozenset()) | set(row.device_ids)
    return held


def paths_allocated(kubelet_dir: Path, pod_uid: str) -> Mapping[str, Sequence[str]]:
    """Return `Node.allocations` of the pod with that UID."""
    checkpoint = json.loads((kubelet_dir / "device-plugins" / "kubelet_internal_checkpoint").read_text())
    paths: dict[str, list[str]] = {}
    for entry in checkpoint["Data"]["PodDeviceEntries"] or ():
        if entry["PodUID"] == pod_uid:
            answer = ContainerAllocateResponse.parse(base64.b64decode(entry["AllocResp"]))
            paths.setdefault(entry["ContainerName"], []).extend(device.host_path for device in answer.devices)
    return paths
