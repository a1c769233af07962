"""What a backend says of one physical card: what it is, where it sits, how it is, what a container needs to use it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One physical card or chip found on the host.

    `id` is stable over reboots and re-enumeration (see `identity.stable_id`) and unique on the node. `name` is the kernel's name of
    the card ("npu0"), which is stable over neither; it is empty for a card without a driver. `location` is the path from the root of
    the machine's tree down to the card: NUMA node, PCIe root, switches, card. `numa_node` is None where the host does not know it.
    `unusable` is empty for a card that containers can be given, else why they cannot and what to do ("no driver is bound to
    0000:6d:00.0; load furiosa_rngd"): such a card is shown to people and not handed to kubelet. `attributes` are what else the
    backend knows and selectors may ask for.
    """

    id: str
    backend: str
    family: str
    name: str = ""
    location: tuple[str, ...] = ()
    numa_node: int | None = None
    pci_address: str = ""
    uuid: str = ""
    serial: str = ""
    firmware: str = ""
    driver: str = ""
    unusable: str = ""
    attributes: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a card's health said. `reason` is empty when healthy, else a sentence that an administrator can act on."""

    healthy: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node that a container gets. `host_path` is the path on the host, without `--host-root`.

    An optional node is left out where the host does not have it; a required one that is missing fails the allocation.
    """

    host_path: str
    container_path: str
    permissions: str = "rw"
    required: bool = True


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host that a container gets."""

    host_path: str
    container_path: str
    read_only: bool = True


@dataclass(frozen=True, slots=True)
class ContainerEdits:
    """All that a container needs to use a device. Environment variables are pairs of a name and a value, each name once."""

    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[Mount, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
