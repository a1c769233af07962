"""One life of the simulated kubelet: from reading the checkpoint to the end of the process."""

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import TaskGroup
from grpclib.const import Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.server import Stream

from npu_agent.api.v1beta1 import Empty, RegisterRequest, RegistrationBase
from npu_agent.simulator.allocation import Allocator
from npu_agent.simulator.checkpoint import FILE_NAME
from npu_agent.simulator.devices import STOP_GRACE_S, Devices
from npu_agent.simulator.errors import DeviceError
from npu_agent.simulator.faults import Faults, RegisterFault
from npu_agent.simulator.folder import clean_folder
from npu_agent.simulator.podresources import ListedPod, PodResourcesService
from npu_agent.simulator.registration import DIAL_TIMEOUT_S, Clients
from npu_agent.simulator.sockets import Listener
from npu_agent.simulator.version import Behaviour

if TYPE_CHECKING:
    from grpclib._typing import IServerMethodFunc

log = logging.getLogger(__name__)


class Process:
    """The parts of kubelet that die with it. It is started once and ended once, within a task group of its owner."""

    def __init__(
        self,
        kubelet_dir: Path,
        behaviour: Behaviour,
        tasks: TaskGroup,
        *,
        faults: Faults,
        rng: random.Random,
        active_pods: Callable[[], Iterable[ListedPod]],
        listed_pods: Callable[[], Iterable[ListedPod]],
        called: Callable[[], None],
        changed: Callable[[], None],
        stop_grace_s: float = STOP_GRACE_S,
        dial_timeout_s: float = DIAL_TIMEOUT_S,
    ) -> None:
        plugins = kubelet_dir / "device-plugins"
        self._behaviour = behaviour
        self._faults = faults
        self.devices = Devices(
            plugins / FILE_NAME,
            active_pods=lambda: [listed.uid for listed in active_pods()],
            changed=changed,
            clients_by_socket=behaviour.clients_by_socket,
            stop_grace_s=stop_grace_s,
        )
        self.allocator = Allocator(self.devices, rng, knows_sidecars=behaviour.knows_sidecars)
        self.clients = Clients(plugins, self.devices, behaviour, tasks, dial_timeout_s=dial_timeout_s)
        resources = PodResourcesService(self.devices, listed_pods, offers_get=behaviour.offers_get)
        self.registration = Listener(plugins / "kubelet.sock", [_Registration(self.clients, behaviour, faults, called)])
        self.pod_resources = Listener(kubelet_dir / "pod-resources" / "kubelet.sock", [resources])

    async def start(self, *, inherited: socket.socket | None = None) -> list[str]:
        """Read the checkpoint, clean the folder, listen; return the names that were removed.

        `inherited` is the listening socket of the life before, for a registration socket that keeps its inode.
        """
        self.devices.restore()
        kept = self.registration.path.name if inherited is not None else None
        removed = clean_folder(self.registration.path.parent, sockets_only=self._behaviour.wipes_sockets_only, keep=kept)
        if inherited is not None:
            self.registration.adopt(inherited)
        else:
            self.registration.bind()
        if self._faults.bind_to_listen_s:
            await anyio.sleep(self._faults.bind_to_listen_s)
        await self.registration.listen()
        self.pod_resources.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self.pod_resources.path.unlink(missing_ok=True)
        self.pod_resources.bind()
        await self.pod_resources.listen()
        return removed

    async def end(self) -> None:
        """Die: all connections are lost at once, the socket files stay and refuse whoever connects."""
        self.clients.end()
        await self.registration.end()
        await self.pod_resources.end()


class _Registration(RegistrationBase):
    def __init__(self, clients: Clients, behaviour: Behaviour, faults: Faults, called: Callable[[], None]) -> None:
        self._clients = clients
        self._behaviour = behaviour
        self._faults = faults
        self._called = called

    def __mapping__(self) -> dict[str, Handler]:
        return {path: handler._replace(func=self._as_kubelet_ends(handler.func)) for path, handler in super().__mapping__().items()}

    def _as_kubelet_ends(self, call: "IServerMethodFunc") -> "IServerMethodFunc":
        """Return `call` with kubelet's own end when its deadline passes; grpclib would answer with a status."""

        async def ended(stream: Stream[Any, Any]) -> None:
            try:
                await call(stream)
            except asyncio.CancelledError:
                if stream.deadline is not None and not stream.deadline.time_remaining():
                    if self._behaviour.resets_at_deadline:
                        await stream.cancel()
                    else:
                        await asyncio.Event().wait()  # until the caller gives up too, or the connection ends
                raise

        return ended

    async def register(self, message: RegisterRequest) -> Empty:
        self._called()
        fault = (self._faults.register.popleft() if self._faults.register else None) or RegisterFault()
        await anyio.sleep(fault.delay_s)
        if fault.refuse_with and not fault.after_acceptance:
            raise GRPCError(Status.UNKNOWN, fault.refuse_with)
        if fault.hang and not fault.after_acceptance:
            await anyio.sleep_forever()
        try:
            answer = await self._clients.register(message)
        except DeviceError as error:
            log.info("Register is refused: %s", error)
            # Whatever it is, kubelet gives it this status.
            raise GRPCError(Status.UNKNOWN, str(error)) from error
        if fault.hang:
            await anyio.sleep_forever()
        if fault.refuse_with:
            raise GRPCError(Status.UNKNOWN, fault.refuse_with)
        return answer
