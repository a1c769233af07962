"""kubelet's side of Register: what it refuses, the dial while the call is open, and whose client a stream's end takes down."""

import logging
import re
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from npu_agent.api.v1beta1 import Empty, RegisterRequest
from npu_agent.simulator.allocation import CALL_ERRORS
from npu_agent.simulator.client import PluginClient
from npu_agent.simulator.devices import Devices
from npu_agent.simulator.errors import DeviceError, go_text
from npu_agent.simulator.version import Behaviour

SUPPORTED_VERSIONS = ("v1beta1",)

DIAL_TIMEOUT_S = 10.0

_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

log = logging.getLogger(__name__)


def refusal(request: RegisterRequest) -> str:
    """Return why kubelet refuses a request at sight, in its words, or an empty text. The options in it are not read."""
    if request.version not in SUPPORTED_VERSIONS:
        supported = " ".join(f'"{version}"' for version in SUPPORTED_VERSIONS)
        return f'requested API version "{request.version}" is not supported by kubelet. Supported version is [{supported}]'
    if not is_extended_resource(request.resource_name):
        return f'the ResourceName "{request.resource_name}" is invalid'
    return ""


def is_extended_resource(name: str) -> bool:
    """Whether kubelet takes `name` for an extended resource: a domain that is not Kubernetes' own, "/" and a short name."""
    if "/" not in name or "kubernetes.io/" in name or name.startswith("requests."):
        return False
    # Its quota is counted under this name, which has to be valid too.
    domain, _, short = f"requests.{name}".partition("/")
    return len(domain) <= 253 and _DOMAIN.fullmatch(domain) is not None and len(short) <= 63 and _NAME.fullmatch(short) is not None


class Clients:
    """The plugins that registered in one life of kubelet, and their streams.

    kubelet up to 1.36 keeps one client for each resource, whatever its socket: the end of any stream of the resource takes down the
    one that is kept, and a failed registration forgets it without closing it. Later ones tell clients apart by their sockets.
    """

    def __init__(self, folder: Path, devices: Devices, behaviour: Behaviour, tasks: TaskGroup, *, dial_timeout_s: float) -> None:
        self._folder = folder
        self._devices = devices
        self._behaviour = behaviour
        self._tasks = tasks
        self._dial_timeout_s = dial_timeout_s
        self._kept: dict[object, PluginClient] = {}
        self._open: set[PluginClient] = set()
        self._streaming: set[PluginClient] = set()
        self._stream_ended = anyio.Event()
        self._ended = False

    async def register(self, request: RegisterRequest) -> Empty:
        """Do what Register does before it answers. Raises DeviceError."""
        if self._ended:
            await anyio.sleep_forever()  # nobody is left to carry it out; the call is about to be cancelled
        log.info("Got registration request from device plugin with resource %s (%s)", request.resource_name, request.endpoint)
        if reason := refusal(request):
            raise DeviceError(reason)
        client = PluginClient(request.resource_name, self._folder / request.endpoint)
        self._kept[self._key(client)] = client
        self._open.add(client)
        if self._behaviour.register_governs_dial:
            await self._connect(client)
        else:
            await self._connect_whatever_becomes_of_the_call(client)
        return Empty()

    async def cut(self) -> None:
        """Lose all connections without a word; return when kubelet has noticed the end of each stream."""
        cut = {client for client in self._open if client.cut()}
        while cut & self._streaming:
            await self._stream_ended.wait()

    def end(self) -> None:
        """Lose all connections as the process ends: nobody is left who would notice."""
        self._ended = True
        for client in self._open:
            client.cut()
            client.close()

    def _key(self, client: PluginClient) -> object:
        return (client.resource, client.socket_path) if self._behaviour.clients_by_socket else client.resource

    async def _connect(self, client: PluginClient) -> None:
        try:
            await client.dial(timeout_s=self._dial_timeout_s)
            try:
                options = await client.stub.get_device_plugin_options()
            except CALL_ERRORS as error:
                raise DeviceError(f"failed to get device plugin options: {go_text(error)}") from error
            self._devices.connect(client, options)
        except BaseException:
            # By name, so that a registration that was there before is forgotten; its stream and devices go on.
            self._kept.pop(self._key(client), None)
            raise
        self._tasks.start_soon(self._run, client)

    async def _connect_whatever_becomes_of_the_call(self, client: PluginClient) -> None:
        done = anyio.Event()
        errors: list[DeviceError] = []

        async def connect() -> None:
            try:
                await self._connect(client)
            except DeviceError as error:
                errors.append(error)
            done.set()

        self._tasks.start_soon(connect)
        await done.wait()
        if errors:
            raise errors[0]

    async def _run(self, client: PluginClient) -> None:
        self._streaming.add(client)
        try:
            async for message in client.lists():
                log.info("%s: %d devices listed", client.resource, len(message.devices))
                self._devices.update(client.resource, message.devices)
            ending = "EOF"
        except CALL_ERRORS as error:
            ending = go_text(error)
        if not self._ended:
            self._end_stream(client, ending)

    def _end_stream(self, client: PluginClient, ending: str) -> None:
        log.info("ListAndWatch ended unexpectedly for device plugin %s: %s", client.resource, ending)
        kept = self._kept.pop(self._key(client), None)
        if kept is not None:
            kept.close()
            self._open.discard(kept)
            self._devices.disconnect(kept)
        self._streaming.discard(client)
        ended, self._stream_ended = self._stream_ended, anyio.Event()
        ended.set()
