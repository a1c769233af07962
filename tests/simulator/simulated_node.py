"""The node of the scenarios on a simulated kubelet."""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from grpclib.client import Channel

from npu_agent.api.v1 import ListPodResourcesRequest, PodResourcesListerStub
from npu_agent.api.v1beta1 import ContainerAllocateResponse
from npu_agent.simulator import pods
from npu_agent.simulator.checkpoint import FILE_NAME
from npu_agent.simulator.errors import PodRejected as Rejected
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.scenarios.node import Node, Pod, PodRejected, Quantity


class SimulatedNode(Node):
    def __init__(self, kubelet: SimulatedKubelet, work: Path) -> None:
        self.kubelet = kubelet
        self.version = kubelet.behaviour.version
        self.kubelet_dir = kubelet.kubelet_dir
        self.work = work
        self.reports_device_health = kubelet.behaviour.reports_device_health

    def command(self, *argv: str) -> list[str]:
        return list(argv)

    async def start_kubelet(self) -> None:
        await self.kubelet.start()

    async def stop_kubelet(self) -> None:
        await self.kubelet.stop()

    async def kill_kubelet(self) -> None:
        await self.kubelet.stop()

    async def quantity(self, resource: str) -> Quantity | None:
        seen = self.kubelet.quantities().get(resource)
        return None if seen is None else Quantity(seen.capacity, seen.allocatable)

    async def run_pod(self, pod: Pod) -> None:
        containers = tuple(
            pods.Container(container.name, container.devices, init=container.init, restartable=container.restartable)
            for container in pod.containers
        )
        try:
            await self.kubelet.run_pod(pods.Pod(pod.name, containers, pod.namespace))
        except Rejected as rejection:
            raise PodRejected(rejection.reason, rejection.message) from rejection

    async def delete_pod(self, name: str) -> None:
        self.kubelet.delete_pod(name)

    async def devices(self, pod_name: str) -> Mapping[str, Mapping[str, frozenset[str]]]:
        async with Channel(path=str(self.kubelet_dir / "pod-resources" / "kubelet.sock")) as channel:
            listed = await PodResourcesListerStub(channel).list(ListPodResourcesRequest(), timeout=5)
        held: dict[str, dict[str, frozenset[str]]] = {}
        for pod in listed.pod_resources:
            for container in pod.containers if pod.name == pod_name else ():
                resources = held.setdefault(container.name, {})
                for row in container.devices:
                    resources[row.resource_name] = resources.get(row.resource_name, frozenset()) | set(row.device_ids)
        return held

    async def allocations(self, pod_name: str) -> Mapping[str, Sequence[str]]:
        checkpoint = json.loads((self.kubelet.plugin_dir / FILE_NAME).read_text())
        paths: dict[str, list[str]] = {}
        for entry in checkpoint["Data"]["PodDeviceEntries"] or ():
            if entry["PodUID"] == self.kubelet.pod(pod_name).uid:
                answer = ContainerAllocateResponse.FromString(base64.b64decode(entry["AllocResp"]))
                paths.setdefault(entry["ContainerName"], []).extend(device.host_path for device in answer.devices)
        return paths

    async def device_health(self, pod_name: str) -> Mapping[str, str]:
        return self.kubelet.device_health(pod_name)

    async def restart_containers(self, pod_name: str) -> None:
        await self.kubelet.restart_containers(pod_name)

    async def cut_streams(self) -> None:
        await self.kubelet.cut_streams()
