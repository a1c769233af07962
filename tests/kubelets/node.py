"""The node of the scenarios on kubelet's own device manager: real registration, admission, checkpoint and accounts, no containers."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.kubelets.manager import DeviceManager
from tests.scenarios.held import devices_held
from tests.scenarios.node import Node, Pod, PodRejected, Quantity
from tests.scenarios.versions import since


class KubeletNode(Node):
    """A kubelet of `version`, of which `program` is the device manager, with its folder and the scenario's below `folder`.

    Pods are the truth of the API server and the runtime: they outlive kubelet. `numa_nodes` are those of the machine, `affinity` those
    that the topology manager wants for every container; both hold from the next start of kubelet.
    """

    def __init__(self, version: str, program: Path, folder: Path) -> None:
        self.version = version
        self.kubelet_dir = folder / "kubelet"
        self.work = folder / "work"
        self.log = folder / "kubelet.log"
        self.numa_nodes: Sequence[int] = (0, 1)
        self.affinity: Sequence[int] = ()
        self.reports_device_health = since(self, "1.36")
        self._program = program
        self._manager: DeviceManager | None = None
        self._pods: dict[str, dict[str, Any]] = {}
        for path in (self.kubelet_dir, self.work):
            path.mkdir()

    async def __aenter__(self) -> "KubeletNode":
        await self.start_kubelet()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.kill_kubelet()

    @property
    def plugin_dir(self) -> Path:
        return self.kubelet_dir / "device-plugins"

    def command(self, *argv: str) -> list[str]:
        # Only kubelet needs its folder in the fixed place; everybody else finds the same files in ours. Nobody outlives the tests.
        return ["setpriv", "--pdeathsig=KILL", "--", *argv]

    async def start_kubelet(self) -> None:
        assert self._manager is None, "kubelet is running"
        manager = DeviceManager(self._program, self.kubelet_dir, self.log)
        self._manager = await manager.__aenter__()
        pods = list(self._pods.values())
        rejected = await self.ask("start", Pods=pods, NumaNodes=list(self.numa_nodes), Affinity=list(self.affinity))
        # A pod that is rejected when kubelet comes back has failed for good.
        self._pods = {name: pod for name, pod in self._pods.items() if pod["UID"] not in rejected}

    async def stop_kubelet(self) -> None:
        """End it with the manager's own `Stop`: connections are closed in order, and the socket is removed."""
        await self.ask("stop")
        await self.kill_kubelet()

    async def kill_kubelet(self) -> None:
        """Kill the process: connections break, and the socket stays."""
        manager, self._manager = self._manager, None
        if manager is not None:
            await manager.__aexit__(None, None, None)

    async def quantity(self, resource: str) -> Quantity | None:
        seen = (await self.ask("quantities")).get(resource) if self._manager else None
        return None if seen is None else Quantity(*seen)

    async def run_pod(self, pod: Pod) -> None:
        described = {"UID": str(uuid.uuid4()), **_described(pod)}
        rejection = await self.ask("admit", Pods=[described])
        if rejection is not None:
            raise PodRejected(rejection["Reason"], rejection["Message"])
        self._pods[pod.name] = described

    async def delete_pod(self, name: str) -> None:
        pod = self._pods.pop(name)
        if self._manager:
            await self.ask("delete", UID=pod["UID"])

    async def devices(self, pod_name: str) -> Mapping[str, Mapping[str, frozenset[str]]]:
        return await devices_held(self.kubelet_dir, pod_name)

    async def allocations(self, pod_name: str) -> Mapping[str, Sequence[str]]:
        options = await self.ask("options", UID=self._pods[pod_name]["UID"])
        return {name: [device["PathOnHost"] for device in given["Devices"] or ()] for name, given in options.items() if given}

    async def device_health(self, pod_name: str) -> Mapping[str, str]:
        status = await self.ask("status", UID=self._pods[pod_name]["UID"])
        return {
            device["resourceID"]: device["health"]
            for container in status["containerStatuses"]
            for resource in container.get("allocatedResourcesStatus", ())
            for device in resource["resources"]
        }

    async def restart_containers(self, pod_name: str) -> None:
        """There are none; what kubelet does of its own before it starts one is done."""
        await self.ask("options", UID=self._pods[pod_name]["UID"])

    async def cut_streams(self) -> None:
        for resource in await self.ask("quantities"):
            await self.ask("cut", Resource=resource)

    async def has(self, resource: str, capacity: int, healthy: Collection[str], *, within_s: float) -> float:
        """Return the seconds after kubelet's last start or cut at which it has these devices. Raises ManagerFailed if it takes longer."""
        wanted = {"Resource": resource, "Capacity": capacity, "Healthy": sorted(healthy)}
        seconds: float = await self.ask("await", **wanted, WithinS=within_s)
        return seconds

    async def hints(self, resource: str) -> list[tuple[tuple[int, ...], bool]]:
        """Return the sets of NUMA nodes that one more device could come from, each with whether it is preferred."""
        return [(tuple(nodes), preferred) for nodes, preferred in await self.ask("hints", Resource=resource)]

    async def ask(self, command: str, **arguments: Any) -> Any:
        """Have the manager carry out a command of driver/main.go."""
        assert self._manager is not None, "kubelet is not running"
        return await self._manager.do(command, **arguments)


def _described(pod: Pod) -> dict[str, Any]:
    containers = [
        {"Name": container.name, "Devices": dict(container.devices), "Init": container.init, "Restartable": container.restartable}
        for container in pod.containers
    ]
    return {"Name": pod.name, "Namespace": pod.namespace, "Containers": containers}
