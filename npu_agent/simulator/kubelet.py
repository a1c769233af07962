"""A kubelet that is only a Python object: to develop and to test against, as faithful as its plugins can tell."""

import logging
import random
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.abc import TaskGroup, TaskStatus

from npu_agent.api.v1beta1 import ContainerAllocateResponse
from npu_agent.simulator.devices import STOP_GRACE_S, Quantity
from npu_agent.simulator.errors import DeviceError, KubeletNotRunning, PodRejected
from npu_agent.simulator.faults import Faults
from npu_agent.simulator.podresources import ListedPod
from npu_agent.simulator.pods import Container, Pod
from npu_agent.simulator.process import Process
from npu_agent.simulator.registration import DIAL_TIMEOUT_S
from npu_agent.simulator.version import Behaviour

DEFAULT_VERSION = "1.36.3"

START_RETRY_S = 10.0
"""Seconds between two tries to start a container that a plugin does not let start."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class PodState:
    """A pod that the node has. `failed` is empty while it runs, else the message of its status, which is final."""

    uid: str
    pod: Pod
    failed: str = ""
    given: dict[str, ContainerAllocateResponse] = field(default_factory=dict)
    """What each container got when it was last started."""


class SimulatedKubelet:
    """A node of one kubelet below the folder `kubelet_dir`, which holds `device-plugins` and `pod-resources` as a real one does.

    Entering it gives it tasks and leaving it ends it; in between it is started and stopped as often as wanted. Pods, and the names
    of resources once seen, outlive the process, as they do on a node. `stop_grace_s` and `dial_timeout_s` are kubelet's own limits,
    to be shortened in tests; `seed` makes its choices by chance repeatable.
    """

    def __init__(
        self,
        kubelet_dir: Path,
        *,
        version: str = DEFAULT_VERSION,
        stop_grace_s: float = STOP_GRACE_S,
        dial_timeout_s: float = DIAL_TIMEOUT_S,
        start_retry_s: float = START_RETRY_S,
        seed: int | None = None,
    ) -> None:
        self.kubelet_dir = kubelet_dir
        self.behaviour = Behaviour.of(version)
        self.faults = Faults()
        self.register_calls = 0
        """Calls of Register so far, in all lives, answered or not."""
        self._stop_grace_s = stop_grace_s
        self._dial_timeout_s = dial_timeout_s
        self._start_retry_s = start_retry_s
        self._rng = random.Random(seed)  # noqa: S311 - kubelet's choice by chance, no secret
        self._pods: dict[str, PodState] = {}
        self._seen: set[str] = set()
        self._tasks: TaskGroup
        self._process: Process | None = None
        self._life: anyio.CancelScope | None = None
        self._changed = anyio.Event()

    async def __aenter__(self) -> "SimulatedKubelet":
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        with anyio.CancelScope(shield=True):
            await self.stop()
        self._tasks.cancel_scope.cancel()
        # What was raised inside is not the tasks' business, and would come out of them as a group.
        await self._tasks.__aexit__(None, None, None)

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None

    @property
    def plugin_dir(self) -> Path:
        """The folder with kubelet's registration socket."""
        return self.kubelet_dir / "device-plugins"

    async def start(self) -> None:
        """Start the process; return when its sockets answer. Pods that run are not touched."""
        await self._start(inherited=None)

    async def stop(self) -> None:
        """End the process, as SIGTERM and SIGKILL alike do: connections are lost, socket files stay, pods run on."""
        process, self._process = self._process, None
        if process is None:
            return
        await process.end()
        assert self._life is not None
        self._life.cancel()
        log.info("kubelet is stopped")
        self._ring()

    async def restart(self, *, same_inode: bool = False) -> None:
        """Stop and start at once. With `same_inode` the registration socket keeps its inode, as it may by chance."""
        inherited = self._running().registration.hand_over() if same_inode else None
        await self.stop()
        await self._start(inherited=inherited)

    async def reboot(self) -> None:
        """Restart the whole node: no container runs any more, so each pod is admitted anew, before any plugin has registered."""
        await self.stop()
        await self.start()
        for state in self._pods.values():
            if not state.failed:
                try:
                    await self._running().allocator.admit(state.uid, state.pod)
                except PodRejected as rejection:
                    state.failed = rejection.message

    async def _start(self, *, inherited: socket.socket | None) -> None:
        if self._process is not None:
            raise RuntimeError("this kubelet is running already")
        error: OSError | None = await self._tasks.start(self._live, inherited)
        if error is not None:
            raise error

    async def _live(self, inherited: socket.socket | None, *, task_status: TaskStatus[OSError | None]) -> None:
        async with anyio.create_task_group() as tasks:
            process = Process(
                self.kubelet_dir,
                self.behaviour,
                tasks,
                faults=self.faults,
                rng=self._rng,
                active_pods=lambda: self._listed(with_failed=False),
                listed_pods=lambda: self._listed(with_failed=not self.behaviour.lists_active_pods),
                called=self._count_register,
                changed=self._ring,
                stop_grace_s=self._stop_grace_s,
                dial_timeout_s=self._dial_timeout_s,
            )
            try:
                removed = await process.start(inherited=inherited)
            except OSError as error:
                await process.end()
                task_status.started(error)
                return
            log.info("kubelet %s is started; removed %s", self.behaviour.version, ", ".join(removed) or "nothing")
            self._process, self._life = process, tasks.cancel_scope
            task_status.started()
            self._ring()
            await anyio.sleep_forever()

    async def cut_streams(self) -> None:
        """Lose all connections to plugins while both sides' sockets stay; return when kubelet has noticed."""
        await self._running().clients.cut()

    def quantities(self) -> dict[str, Quantity]:
        """Return what the node's status shows of each resource; a name once seen stays, at 0 of 0. Nothing while kubelet is down."""
        if self._process is None:
            return {}
        now = self._process.devices.quantities()
        self._seen |= now.keys()
        return {resource: now.get(resource, Quantity(0, 0)) for resource in sorted(self._seen)}

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return when `condition` holds, which is looked at after each change that this kubelet sees."""
        while True:
            changed = self._changed
            if condition():
                return
            await changed.wait()

    async def run_pod(self, pod: Pod) -> None:
        """Admit and start a pod; return when its containers run.

        A container that a plugin does not let start is tried again until it starts. Raises PodRejected, after which the pod is there
        as failed until it is deleted or another one of its name runs.
        """
        state = PodState(str(uuid.UUID(int=self._rng.getrandbits(128), version=4)), pod)
        process = self._running()
        if pod.name in self._pods and not self._pods[pod.name].failed:
            raise ValueError(f"a pod named {pod.name} is running already")
        self._pods[pod.name] = state
        try:
            await process.allocator.admit(state.uid, pod)
        except PodRejected as rejection:
            state.failed = rejection.message
            raise
        finally:
            self._ring()
        await self._start_containers(state)

    async def restart_containers(self, name: str) -> None:
        """End the pod's containers and start them again, with the devices that they have."""
        await self._start_containers(self._pods[name])

    async def _start_containers(self, state: PodState) -> None:
        for container in state.pod.in_order():
            await self._start_container(state, container)

    async def _start_container(self, state: PodState, container: Container) -> None:
        while True:
            try:
                state.given[container.name] = await self._running().allocator.prepare_start(state.uid, container)
                return
            except DeviceError as error:
                log.info("%s: container %s cannot be started yet: %s", state.pod.name, container.name, error)
            await anyio.sleep(self._start_retry_s)

    def delete_pod(self, name: str) -> None:
        """Remove a pod. Its devices are taken back when kubelet next sums up: at an allocation or a question of PodResources."""
        del self._pods[name]
        self._ring()

    def pods(self) -> list[PodState]:
        """Return the pods that are there, failed ones too."""
        return list(self._pods.values())

    def pod(self, name: str) -> PodState:
        """Return one pod. Raises KeyError."""
        return self._pods[name]

    def held(self, name: str) -> dict[str, dict[str, frozenset[str]]]:
        """Return what each container of a pod holds, by resource, from kubelet's books."""
        held = self._running().devices.held
        state = self._pods[name]
        return {
            container.name: {resource: holding.ids for resource, holding in held.of(state.uid, container.name).items()}
            for container in state.pod.in_order()
        }

    def device_health(self, name: str) -> Mapping[str, str]:
        """Return the health that the pod's status shows for each device of its containers, which init containers are not."""
        state, devices = self._pods[name], self._running().devices
        return {
            identity: health
            for container in state.pod.containers
            if not container.init
            for identity, health in devices.health(state.uid, container.name).items()
        }

    def _listed(self, *, with_failed: bool) -> list[ListedPod]:
        return [ListedPod(state.uid, state.pod) for state in self._pods.values() if with_failed or not state.failed]

    def _running(self) -> Process:
        if self._process is None:
            raise KubeletNotRunning("the simulated kubelet is stopped; start it first")
        return self._process

    def _count_register(self) -> None:
        self.register_calls += 1
        self._ring()

    def _ring(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()
