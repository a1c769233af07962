"""The one interface by which the scenarios see a node: a simulated kubelet, kubelet's own device manager, or a whole real node.

A scenario takes the fixture `node` and says what happens and what must be seen. It is written once, in a module of this folder, and
runs wherever a `conftest.py` offers a `node` that can do it.
"""

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Quantity:
    """What the node says of one resource, in devices. kubelet keeps the name for good once it was seen, at 0 of 0 in the end."""

    capacity: int
    allocatable: int


@dataclass(frozen=True, slots=True)
class Container:
    """A container that asks for devices: a number for each resource name.

    `init` makes it an init container; `restartable` too, a sidecar. Containers run for as long as the pod is there, ordinary init
    containers end at once.
    """

    name: str = "main"
    devices: Mapping[str, int] = field(default_factory=dict)
    init: bool = False
    restartable: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    name: str
    containers: Sequence[Container]
    namespace: str = "default"


def pod(name: str, **devices: int) -> Pod:
    """A pod of one container. Keyword `npu=2` asks for two of `furiosa.ai/npu`; see `Pod` for other resources."""
    return Pod(name, [Container(devices={f"furiosa.ai/{key}": count for key, count in devices.items()})])


class PodRejected(Exception):
    """kubelet refused to admit the pod. `reason` and `message` are those of the pod's status."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


class Node(abc.ABC):
    """A machine with a kubelet. It is handed to a scenario with kubelet running, no agent, no pod and no resource."""

    version: str
    """kubelet's version, such as "1.36.3", for what differs by version. The simulated kubelet imitates the one it names."""

    kubelet_dir: Path
    """kubelet's folder as the agent is to be told it (`--kubelet-dir`): it holds `device-plugins` and `pod-resources`."""

    work: Path
    """An empty folder for the scenario's own files, seen alike by the agent, kubelet and the containers' runtime."""

    runs_containers: bool = False
    """Whether pods are real containers (`run_in_pod`)."""

    reports_device_health: bool = False
    """Whether `device_health` can be asked."""

    @abc.abstractmethod
    def command(self, *argv: str) -> list[str]:
        """Return the command line that runs `argv` on this node (in its namespaces), for an agent process for instance."""

    @abc.abstractmethod
    async def start_kubelet(self) -> None:
        """Start kubelet; return when its registration socket answers."""

    @abc.abstractmethod
    async def stop_kubelet(self) -> None:
        """End kubelet in order (SIGTERM); return when it has gone. Pods stay."""

    @abc.abstractmethod
    async def kill_kubelet(self) -> None:
        """End kubelet with SIGKILL; return when it has gone. Pods stay."""

    @abc.abstractmethod
    async def quantity(self, resource: str) -> Quantity | None:
        """Return what the node reports now of `resource`, or None if kubelet has never heard of it or is not running."""

    @abc.abstractmethod
    async def run_pod(self, pod: Pod) -> None:
        """Have kubelet admit and start `pod`; return when it runs. Raises PodRejected; scenarios use the name of such a pod no more."""

    @abc.abstractmethod
    async def delete_pod(self, name: str) -> None:
        """Remove the pod; return when kubelet has forgotten it. Works while kubelet is down too: then it is gone at its next start."""

    @abc.abstractmethod
    async def devices(self, pod_name: str) -> Mapping[str, Mapping[str, frozenset[str]]]:
        """Return who holds what by kubelet's PodResources: container name, resource name, device ids. Empty for a pod it does not list."""

    @abc.abstractmethod
    async def allocations(self, pod_name: str) -> Mapping[str, Sequence[str]]:
        """Return the host paths of the device nodes that kubelet would give each container of the pod, from its checkpoint."""

    async def device_health(self, pod_name: str) -> Mapping[str, str]:
        """Return the health that the pod's status shows for each device that it holds (KEP-4680)."""
        raise NotImplementedError

    async def run_in_pod(self, pod_name: str, *argv: str) -> tuple[int, str]:
        """Run a command in the pod's container; return its exit status and what it printed (both streams)."""
        raise NotImplementedError

    async def restart_containers(self, pod_name: str) -> None:
        """Kill the pod's containers and return when kubelet has started them again."""
        raise NotImplementedError

    async def cut_streams(self) -> None:
        """Have kubelet lose its connections to plugins while both sockets stay; return when it has noticed."""
        raise NotImplementedError
