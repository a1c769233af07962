"""The agent: backends, the monitor, one link to kubelet for each resource, and the agent's own socket, as one task group."""

import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

import npu_agent
from npu_agent.api.npu_agent.v1 import Status
from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError
from npu_agent.config.configuration import Configuration
from npu_agent.control.instance import only_instance
from npu_agent.control.service import CommandRefused, serving
from npu_agent.control.status import Holders, Knowledge, status_of
from npu_agent.deviceplugin.link import KubeletLink
from npu_agent.deviceplugin.socket import remove_stale_sockets
from npu_agent.flow.current import Current
from npu_agent.host.watching import watch_folder
from npu_agent.node.allocation import HostDevices
from npu_agent.node.look import device_nodes, excluded
from npu_agent.node.making import make_backends
from npu_agent.node.monitor import Monitor
from npu_agent.observe.podresources import HoldersUnknown, list_holders

log = logging.getLogger(__name__)


class NoDevice(Exception):
    """There is no accelerator, and the configuration says that the agent is to end then (`fail_on_no_device`)."""


class TaskEnded(Exception):
    """A task that runs for as long as the agent ended by itself: a fault of ours, which ends the agent rather than half of its work."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an agent is to do. `runtime_dir` holds its lock and its socket; `pod_resources` is kubelet's PodResources socket."""

    configuration: Configuration
    kubelet_dir: Path
    runtime_dir: Path
    host_root: Path
    pod_resources: Path
    replace: bool = False

    @property
    def device_plugins(self) -> Path:
        """kubelet's folder of device plugins."""
        return self.kubelet_dir / "device-plugins"


async def serve(options: Options) -> None:
    """Run the agent until SIGTERM or SIGINT, or until another agent takes over.

    Raises:
        config.ConfigurationError: an option of a backend, or a family file, is wrong.
        backends.errors.BackendError: a backend cannot be used on this host.
        control.instance.AlreadyRunning, RuntimeFolderUnusable: another agent runs here, or the runtime folder cannot be used.
        deviceplugin.errors.FolderUnlinked: kubelet's folder was deleted below our mount.
        NoDevice: see there.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(only_instance(options.runtime_dir, replace=options.replace))
        backends: dict[str, Backend] = {}
        for name, backend in make_backends(options.configuration, options.host_root).items():
            backends[name] = await stack.enter_async_context(backend)
        agent = _Agent(options, backends)
        await stack.enter_async_context(serving(agent, options.runtime_dir))
        await agent.run()


class _Agent:
    def __init__(self, options: Options, backends: dict[str, Backend]) -> None:
        self._options = options
        self._backends = backends
        self._started_at = time.time()
        self._monitor = Monitor(backends, options.configuration, self._held)
        self._host = HostDevices(backends, self._monitor.inventory, options.host_root)
        self._links = [KubeletLink(options.device_plugins, pool, self._host) for pool in self._monitor.pools.values()]
        self._changes = Current(0)
        self._ended = anyio.Event()

    async def run(self) -> None:
        await self._monitor.look()
        found = len(self._monitor.inventory.value)
        if not found and self._options.configuration.fail_on_no_device:
            raise NoDevice(f"no accelerator was found by {', '.join(self._backends)}, and fail_on_no_device is set")
        log.info("found %d accelerators by %s", found, ", ".join(self._backends))
        remove_stale_sockets(self._options.device_plugins)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_by_signal)
            for link in self._links:
                tasks.start_soon(_without_end, link.run)
                tasks.start_soon(self._follow, link.registration)
            tasks.start_soon(_without_end, watch_folder, self._options.device_plugins, self._ring)
            tasks.start_soon(_without_end, self._monitor.run)
            tasks.start_soon(self._follow, self._monitor.inventory)
            tasks.start_soon(self._follow, self._monitor.problems)
            await self._ended.wait()
            tasks.cancel_scope.cancel()
        if not self._ended.is_set():
            raise TaskEnded("a task was cancelled by something else than the agent")

    async def status(self, *, with_holders: bool) -> Status:
        holders: Holders = {}
        problem = ""
        if with_holders:
            try:
                holders = await list_holders(self._options.pod_resources)
            except HoldersUnknown as error:
                problem = str(error)
        inventory = self._monitor.inventory.value
        registrations = {link.resource: link.registration.value for link in self._links}
        problems = [*self._monitor.problems.value.values(), *(stand.problem for stand in registrations.values() if stand.problem)]
        return status_of(
            Knowledge(
                version=npu_agent.__version__,
                inventory=inventory,
                pools={name: pool.value for name, pool in self._monitor.pools.items()},
                started_at=self._started_at,
                process_id=os.getpid(),
                registrations=registrations,
                device_nodes=device_nodes(self._backends, inventory, self._options.host_root),
                excluded=excluded(self._options.configuration, inventory),
                holders=holders,
                holders_problem=problem,
                problems=problems,
            )
        )

    async def changed(self) -> None:
        await self._changes.changed()

    async def command(self, backend: str, command: str, arguments: Sequence[str]) -> str:
        if backend not in self._backends:
            raise CommandRefused(f"this agent runs without the backend {backend!r}; it has {', '.join(self._backends)}")
        try:
            return await self._backends[backend].command(command, arguments)
        except BackendError as error:
            raise CommandRefused(str(error)) from error

    def shut_down(self) -> None:
        self._ended.set()

    def _ring(self) -> None:
        for link in self._links:
            link.ring()

    async def _follow(self, value: Current[Any]) -> None:
        async for _ in value.follow():
            self._changes.set(self._changes.value + 1)

    async def _held(self) -> frozenset[tuple[str, str]] | None:
        try:
            return frozenset(await list_holders(self._options.pod_resources))
        except HoldersUnknown as error:
            log.warning("%s; a card that vanished stays listed for %g s", error, self._options.configuration.vanished_linger_s)
            return None

    async def _end_by_signal(self) -> None:
        with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async for number in signals:
                if number == signal.SIGHUP:
                    log.info("SIGHUP changes nothing: the configuration is read when the agent starts")
                    continue
                log.info("%s: ending in order", signal.Signals(number).name)
                self._ended.set()


async def _without_end(task: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    await task(*arguments)
    raise TaskEnded(f"{task.__qualname__} ended by itself")
