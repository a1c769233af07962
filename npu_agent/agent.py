"""The agent: the node looked after, a link to kubelet for each resource, and the agent's own socket, as one task group."""

import logging
import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

import npu_agent
from npu_agent.api.npu_agent.v1 import Status
from npu_agent.config.configuration import Configuration
from npu_agent.control.client import SOCKET_NAME
from npu_agent.control.service import AgentSocket, serving
from npu_agent.control.status import Process, status_of
from npu_agent.core.edits import without_nodes
from npu_agent.core.errors import NpuAgentError, alone
from npu_agent.core.registration import Registration
from npu_agent.core.state import Holders
from npu_agent.flow.current import Current
from npu_agent.flow.endless import TaskEnded, without_end
from npu_agent.host.reaper import reap_orphans
from npu_agent.instance import Instance, only_instance
from npu_agent.links import Links
from npu_agent.node.look import look
from npu_agent.node.making import wanted_backends
from npu_agent.node.node import Node
from npu_agent.observe.errors import HoldersUnknown
from npu_agent.observe.journal import keep_journal
from npu_agent.observe.podresources import PodResources

if TYPE_CHECKING:
    from npu_agent.cdi.handover import Handover
    from npu_agent.cdi.spec import Spec
    from npu_agent.observe.http.address import Address
    from npu_agent.observe.probes import Probes

HTTP_AFTER_S = 1.0
"""Seconds that serving HTTP waits for kubelet to have all resources."""

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = logging.getLogger(__name__)


class NoDevice(NpuAgentError):
    """There is no accelerator, and the configuration says that the agent is to end then (`fail_on_no_device`)."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an agent is to do. `runtime_dir` holds its lock and its socket; `pod_resources` is kubelet's PodResources socket.

    `http` is where HTTP is served, None for nowhere. `allow_plain_files` is for test beds that cannot make device nodes. `node_name` and
    `kubeconfig` are for telling the cluster of the node: what it is called there, and how to reach the API server from outside of a pod.
    """

    configuration: Configuration
    kubelet_dir: Path
    runtime_dir: Path
    host_root: Path
    pod_resources: Path
    http: "Address | None" = None
    replace: bool = False
    allow_plain_files: bool = False
    node_name: str = ""
    kubeconfig: Path | None = None

    @property
    def device_plugins(self) -> Path:
        """kubelet's folder of device plugins."""
        return self.kubelet_dir / "device-plugins"


async def serve(options: Options) -> None:
    """Run the agent until SIGTERM or SIGINT, or until another agent takes over.

    Raises what ends an agent (below core.errors.NpuAgentError), alone: a wrong option of a backend, another agent on this node, a
    runtime folder that cannot be used, kubelet's folder deleted below our mount, and NoDevice.
    """
    # Signals come first: whatever the rest waits for, the agent ends when it is told to. Those that came earlier have waited (__main__).
    with anyio.open_signal_receiver(*SIGNALS) as signals:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        try:
            async with anyio.create_task_group() as tasks:
                ended = anyio.Event()
                tasks.start_soon(_end_by_signal, signals, tasks.cancel_scope, ended)
                if os.getpid() == 1:
                    tasks.start_soon(without_end, reap_orphans)
                await _serve(options, ended)
                ended.set()
                tasks.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            raise alone(errors) from None
    if not ended.is_set():
        raise TaskEnded("a task was cancelled by something else than the agent")


async def scan(configuration: Configuration, *, host_root: Path, pod_resources: Path, details_of: str = "") -> Status:
    """Return what an agent with `configuration` would find on this host now, and who holds it by kubelet's word.

    Raises config's ConfigurationError.
    """
    backends = wanted_backends(configuration, host_root)
    state, absent = await look(configuration, backends, host_root=host_root, ask=partial(_ask, PodResources(pod_resources)))
    return status_of(state, Process(npu_agent.__version__), absent_nodes=absent, details_of=details_of)


async def cdi_specs(configuration: Configuration, *, host_root: Path, pod_resources: Path) -> "Mapping[str, Spec]":
    """Return the specs of CDI that an agent with `configuration` would write now, by the names of their files.

    Raises config's ConfigurationError.
    """
    from npu_agent.cdi.spec import file_of, spec_of

    backends = wanted_backends(configuration, host_root)
    state, absent = await look(configuration, backends, host_root=host_root, ask=partial(_ask, PodResources(pod_resources)))
    specs = {}
    for resource, pool in state.plan.pools.items():
        edits = {device.id: without_nodes(device.part.edits, absent) for device in pool.devices}
        if spec := spec_of(resource, edits):
            specs[file_of(resource)] = spec
    return specs


async def _serve(options: Options, ended: anyio.Event) -> None:
    async with AsyncExitStack() as stack:
        instance = await stack.enter_async_context(only_instance(options.runtime_dir, options.device_plugins, replace=options.replace))
        agent = _Agent(options, instance, ended)
        socket = await stack.enter_async_context(serving(agent, options.runtime_dir))
        await agent.run(socket)


class _Agent:
    def __init__(self, options: Options, instance: Instance, ended: anyio.Event) -> None:
        self._options = options
        self._instance = instance
        self._process = Process(npu_agent.__version__, time.time(), os.getpid())
        self._pod_resources = PodResources(options.pod_resources)
        self._node = Node(
            options.configuration,
            wanted_backends(options.configuration, options.host_root),
            host_root=options.host_root,
            ask=partial(_ask, self._pod_resources),
            store=instance,
            allow_plain_files=options.allow_plain_files,
        )
        self._handover = self._made_handover()
        host = self._handover or self._node.allocator
        self._links = Links(options.device_plugins, self._node, host, instance, self._pod_resources, self._count_one)
        self._ready = anyio.Event()
        self._changes = Current(0)
        self._ended = ended

    async def run(self, socket: AgentSocket) -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(without_end, keep_journal, self._node.state)
            tasks.start_soon(without_end, self._node.run, self._ready)
            tasks.start_soon(without_end, self._instance.look_after, socket.listen, self._node.writer.tell)
            tasks.start_soon(self._count, self._node.state)
            await self._ready.wait()
            self._count_one()
            found = len(self._node.state.value.inventory)
            if not found and self._options.configuration.fail_on_no_device:
                names = ", ".join(self._node.backends.value)
                raise NoDevice(f"no accelerator was found by {names}, and fail_on_no_device is set")
            log.info("found %d accelerators by %s", found, ", ".join(self._node.backends.value))
            tasks.start_soon(without_end, self._links.run)
            if self._handover:
                tasks.start_soon(without_end, self._handover.run, self._node.state)
            if self._options.configuration.cluster.is_on:
                tasks.start_soon(without_end, self._tell_cluster)
            if self._options.http is not None:
                tasks.start_soon(without_end, self._serve_http, self._options.http)
            await self._ended.wait()
            tasks.cancel_scope.cancel()

    async def status(self, *, with_holders: bool, details_of: str) -> Status:
        """Return what the agent knows now, as a message."""
        if with_holders:
            await self._node.look_at_holders()
        absent = await self._node.absent_nodes()
        return status_of(
            self._node.writer.publish(),
            self._process,
            registrations=self._registrations(),
            absent_nodes=absent,
            with_holders=with_holders,
            details_of=details_of,
        )

    @cached_property
    def probes(self) -> "Probes":
        """How the agent stands. Nobody need ask, so it is imported by whoever does."""
        from npu_agent.observe.probes import Probes

        return Probes(lambda: self._node.state.value, self._registrations, self._own_sockets)

    @property
    def changes(self) -> Current[int]:
        """A count that grows with each change of what `status` shows."""
        return self._changes

    async def command(self, backend: str, command: str, arguments: Sequence[str]) -> str:
        """Have a backend carry out a command. Raises node.errors.CommandRefused."""
        return await self._node.command(backend, command, arguments)

    def shut_down(self) -> None:
        """Begin to end."""
        self._ended.set()

    def _registrations(self) -> Mapping[str, Registration] | None:
        """Return how the resources stand that have a link, None before the node has been looked at."""
        return self._links.registrations() if self._ready.is_set() else None

    def _own_sockets(self) -> frozenset[Path]:
        """Return the files of our sockets that are there."""
        own = self._options.runtime_dir / SOCKET_NAME
        return self._links.sockets() | ({own} if own.exists() else set())

    def _made_handover(self) -> "Handover | None":
        """Return what stands between kubelet and the node where devices are handed over by CDI."""
        settings = self._options.configuration.cdi
        if settings.handover == "nodes":
            return None
        from npu_agent.cdi.handover import Handover

        return Handover(
            Path(settings.folder),
            settings.handover,
            self._node.allocator,
            as_found=self._node.allocator.as_found,
            held=lambda: self._node.held_resources,
            tell=partial(self._node.writer.tell, "CDI"),
        )

    async def _serve_http(self, address: "Address") -> None:
        # Whoever only asks must not have the first registration wait for these imports. An agent without HTTP does not pay for them.
        with anyio.move_on_after(HTTP_AFTER_S):
            while not self.probes.ready().passed:
                await self._changes.changed()
        from npu_agent.observe.http.routes import routes
        from npu_agent.observe.http.server import serve_http

        await serve_http(address, routes(self.probes), partial(self._node.writer.tell, "HTTP"))

    async def _tell_cluster(self) -> None:
        # Imported where it is on: a client and TLS take 3 MiB (docs/decisions/0013-own-client.md).
        from npu_agent.cluster.outputs import tell_cluster

        options, node = self._options, self._node
        await tell_cluster(node.state, node.writer.tell, options.configuration.cluster, options.node_name, options.kubeconfig)

    async def _count(self, value: Current[Any]) -> None:
        async for _ in value.follow():
            self._count_one()

    def _count_one(self) -> None:
        self._changes.set(self._changes.value + 1)


async def _ask(pod_resources: PodResources) -> tuple[Holders | None, str]:
    try:
        return await pod_resources.holders(), ""
    except HoldersUnknown as error:
        return None, str(error)


async def _end_by_signal(signals: Any, scope: anyio.CancelScope, ended: anyio.Event) -> None:
    async for number in signals:
        if number == signal.SIGHUP:
            log.info("SIGHUP changes nothing: the configuration is read when the agent starts")
            continue
        log.info("%s: ending in order", signal.Signals(number).name)
        ended.set()
        scope.cancel()
