"""The node of the scenarios on a simulated kubelet."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from npu_agent.simulator import pods
from npu_agent.simulator.errors import PodRejected as Rejected
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.scenarios.held import devices_held, paths_allocated
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
        return await devices_held(self.kubelet_dir, pod_name)

    async def allocations(self, pod_name: str) -> Mapping[str, Sequence[str]]:
        return paths_allocated(self.kubelet_dir, self.kubelet.pod(pod_name).uid)

    async def device_health(self, pod_name: str) -> Mapping[str, str]:
        return self.kubelet.device_health(pod_name)

    async def restart_containers(self, pod_name: str) -> None:
        await self.kubelet.restart_containers(pod_name)

    async def cut_streams(self) -> None:
        await self.kubelet.cut_streams()
