"""The list of devices as kubelet reads it: a pool in wire form, encoded once for all streams."""

from npu_agent.api.v1beta1 import Device, ListAndWatchResponse, NumaNode, TopologyInfo
from npu_agent.core.pool import Pool

HEALTHY = "Healthy"
UNHEALTHY = "Unhealthy"

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""What kubelet's gRPC client takes in one message; a larger one ends the stream (docs/kubelet.md, "The list")."""


class ListTooLarge(Exception):
    """A pool's list is more than kubelet takes in one message."""


class DeviceList(ListAndWatchResponse):
    """A message that is encoded already, so that a list costs its encoding once and not once for each stream."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self.encoded = encoded

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DeviceList) and other.encoded == self.encoded

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name that grpclib's codec calls
        return self.encoded


def device_list(pool: Pool) -> DeviceList:
    """Return the list that kubelet is to have of `pool`.

    Topology is sent only where the NUMA node is known: kubelet would take -1 for a node of that number, and one device with a node
    makes it align the whole resource. Raises ListTooLarge.
    """
    # An encoded message is its fields one after another, so the id is joined to what all devices of the same health and node share.
    shared: dict[tuple[bool, int | None], bytes] = {}
    parts: list[bytes] = []
    for device in pool.devices:
        key = (device.health.healthy, device.numa_node)
        if key not in shared:
            topology = None if device.numa_node is None else TopologyInfo(nodes=[NumaNode(id=device.numa_node)])
            shared[key] = bytes(Device(health=HEALTHY if device.health.healthy else UNHEALTHY, topology=topology))
        name = device.id.encode()
        parts.append(field(1, field(1, name) + shared[key]))
    encoded = b"".join(parts)
    if len(encoded) > MAX_MESSAGE_BYTES:
        raise ListTooLarge(
            f"{pool.resource}: the list of {len(pool.devices)} devices is {len(encoded)} bytes, and kubelet takes {MAX_MESSAGE_BYTES} in"
            " one message; kubelet keeps the list before it. Make fewer devices: fewer replicas, larger partitions, or more resources"
        )
    return DeviceList(encoded)


def offered(pool: Pool) -> frozenset[str]:
    """Return the ids that the list of `pool` calls healthy."""
    return frozenset(device.id for device in pool.devices if device.health.healthy)


def field(number: int, content: bytes) -> bytes:
    """Return the field `number` (≤ 15) of a message in wire form, a text or a message being its content."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
