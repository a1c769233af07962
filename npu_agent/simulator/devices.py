"""What kubelet knows of devices: its endpoints, their lists, who holds what, and the sums that it makes of them."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from npu_agent.api.v1beta1 import Device, DevicePluginOptions
from npu_agent.simulator.checkpoint import CorruptCheckpoint, read_checkpoint, write_checkpoint
from npu_agent.simulator.client import PluginClient
from npu_agent.simulator.errors import DeviceError
from npu_agent.simulator.pod_devices import NO_NODE, PodDevices

HEALTHY = "Healthy"
UNHEALTHY = "Unhealthy"

STOP_GRACE_S = 300.0
"""Seconds for which the capacity of a plugin that went away stays."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Quantity:
    """What the node says of one resource, in devices."""

    capacity: int
    allocatable: int


@dataclass(slots=True)
class Endpoint:
    """The plugin of one resource. Without a client it is known from the checkpoint alone and has not registered since."""

    resource: str
    client: PluginClient | None = None
    options: DevicePluginOptions | None = None
    stopped_at: float | None = None

    def reachable(self) -> PluginClient:
        """Return the client. Raises DeviceError for an endpoint that stopped."""
        if self.client is None or self.stopped_at is not None:
            raise DeviceError(f"endpoint {self.resource} has been stopped")
        return self.client


class Devices:
    """The state of kubelet's device manager in one life of kubelet.

    `active_pods` says which pods are there and not over, by uid; `changed` is called after each change that can be seen. With
    `clients_by_socket` several plugins of one resource are told apart, else the newest is all that counts.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        active_pods: Callable[[], Iterable[str]],
        changed: Callable[[], None],
        clients_by_socket: bool,
        stop_grace_s: float = STOP_GRACE_S,
    ) -> None:
        self.endpoints: dict[str, Endpoint] = {}
        self.known: dict[str, dict[str, Device]] = {}
        self.healthy: dict[str, set[str]] = {}
        self.unhealthy: dict[str, set[str]] = {}
        self.allocated: dict[str, set[str]] = {}
        """Ids that are given out or about to be. An allocation that kubelet loses track of stays here: it leaks."""
        self.held = PodDevices()
        self.expired: set[str] = set()
        """Resources whose plugin was away for too long; the node shows them at 0 of 0."""
        self._checkpoint = checkpoint
        self._active_pods = active_pods
        self._changed = changed
        self._clients_by_socket = clients_by_socket
        self._connected: dict[str, dict[Path, Endpoint]] = {}
        self._stop_grace_s = stop_grace_s

    def restore(self) -> None:
        """Take up what the checkpoint knows: who holds what, and resources that are empty until their plugin registers."""
        try:
            found = read_checkpoint(self._checkpoint)
        except CorruptCheckpoint as error:
            log.error("continuing without the checkpoint: %s", error)
            return
        if found is None:
            return
        holdings, resources = found
        for holding in holdings:
            self.held.insert(holding)
        self.allocated = self.held.by_resource()
        for resource in resources:
            self.healthy[resource] = set()
            self.unhealthy[resource] = set()
            self.endpoints[resource] = Endpoint(resource, stopped_at=time.monotonic())

    def connect(self, client: PluginClient, options: DevicePluginOptions) -> None:
        """Take `client` for the endpoint of its resource, in place of any other. Raises DeviceError."""
        endpoint = Endpoint(client.resource, client, options)
        if self._clients_by_socket:
            connected = self._connected.setdefault(client.resource, {})
            if client.socket_path in connected:
                raise DeviceError(f"device plugin already connected: {client.socket_path}")
            connected[client.socket_path] = endpoint
        self.endpoints[client.resource] = endpoint

    def disconnect(self, client: PluginClient) -> None:
        """Call all devices of the resource unhealthy, unless another plugin of it is connected. Their number stays for a while."""
        endpoint = self.endpoints.get(client.resource)
        others: list[Endpoint] = []
        if self._clients_by_socket:
            connected = self._connected.get(client.resource, {})
            endpoint = connected.pop(client.socket_path, None)
            others = list(connected.values())
        if endpoint is None:
            return
        endpoint.stopped_at = time.monotonic()
        if others:
            self.endpoints[client.resource] = others[0]
        else:
            self.unhealthy.setdefault(client.resource, set()).update(self.healthy.get(client.resource, ()))
            self.healthy[client.resource] = set()
        self._changed()

    def update(self, resource: str, devices: Iterable[Device]) -> None:
        """Replace the list of a resource by one that a plugin sent."""
        self.known[resource] = {device.id: device for device in devices}
        self.healthy[resource] = {device.id for device in self.known[resource].values() if device.health == HEALTHY}
        self.unhealthy[resource] = self.known[resource].keys() - self.healthy[resource]
        self.expired.discard(resource)
        self.save()
        self._changed()

    def quantities(self) -> dict[str, Quantity]:
        """Return capacity and allocatable of each resource, as the status of the node shows them."""
        for resource in self.healthy.keys() | self.unhealthy.keys():
            if self._is_over(self.endpoints.get(resource)):
                self.endpoints.pop(resource, None)
                self.healthy.pop(resource, None)
                self.unhealthy.pop(resource, None)
                self.expired.add(resource)
                self.save()
        quantities = {resource: Quantity(0, 0) for resource in self.expired}
        for resource in self.healthy.keys() | self.unhealthy.keys():
            healthy = len(self.healthy.get(resource, ()))
            quantities[resource] = Quantity(healthy + len(self.unhealthy.get(resource, ())), healthy)
        return quantities

    def _is_over(self, endpoint: Endpoint | None) -> bool:
        if endpoint is None:
            return True
        return endpoint.stopped_at is not None and time.monotonic() - endpoint.stopped_at > self._stop_grace_s

    def is_plugin_resource(self, resource: str) -> bool:
        """Whether kubelet takes a resource for that of a device plugin; any other one that a pod asks for is none of its business."""
        return resource in self.healthy or resource in self.allocated

    def health(self, pod_uid: str, container: str) -> dict[str, str]:
        """Return the health that the pod's status shows of each device that a container holds: well, unless listed as not."""
        return {
            identity: UNHEALTHY if identity in known and known[identity].health != HEALTHY else HEALTHY
            for resource, held in self.held.of(pod_uid, container).items()
            for known in [self.known.get(resource, {})]
            for identity in held.ids
        }

    def nodes(self, resource: str, identity: str) -> list[int]:
        """Return the NUMA nodes that a device lists, or NO_NODE."""
        device = self.known.get(resource, {}).get(identity)
        listed = [node.id for node in device.topology.nodes] if device is not None and device.topology is not None else []
        return listed or [NO_NODE]

    def collect(self) -> None:
        """Take back what pods hold that are gone. kubelet does so when it allocates and when PodResources is asked, not before."""
        gone = self.held.pods() - set(self._active_pods())
        if gone:
            self.held.forget(gone)
            self.allocated = self.held.by_resource()

    def save(self) -> None:
        """Write the checkpoint."""
        try:
            write_checkpoint(self._checkpoint, self.held, self.healthy)
        except OSError as error:
            log.error("the checkpoint cannot be written: %s", error)
