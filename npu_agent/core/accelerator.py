"""What a backend says of one physical card: what it is, where it sits, how it is, and what of it can be handed out."""

from dataclasses import dataclass

from npu_agent.core.model_line import UNDESCRIBED, ModelLine


@dataclass(frozen=True, slots=True)
class DeviceNode:
    """A device node that a container gets. `host_path` is the path on the host, without `--host-root`.

    An optional node is left out where the host does not have it; a required one that is missing fails the allocation. A `shared` node
    belongs to no card alone (/dev/vfio/vfio, /dev/kfd), so containers with different cards are given the same one. `major` is the
    number of its driver where that is known, 0 where not: a node of another driver is refused.
    """

    host_path: str
    container_path: str
    permissions: str = "rw"
    required: bool = True
    shared: bool = False
    major: int = 0


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host that a container gets, or all that a path with `*` stands for, each at its own place.

    One that is `required` and missing fails the allocation, one that is not is left out where the host does not have it, and of one that
    says neither (None) it is not looked whether it is there.
    """

    host_path: str
    container_path: str
    read_only: bool = True
    required: bool | None = None


@dataclass(frozen=True, slots=True)
class ContainerEdits:
    """All that a container needs to use a part. Environment and annotations are pairs of a name and a value, each name once.

    `cdi_devices` are qualified names of CDI ("vendor.com/class=name") that the runtime is to inject.
    """

    device_nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[Mount, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    cdi_devices: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Part:
    """What of an accelerator can be handed out by itself: the whole card, or one piece of a partition.

    `kind` is the kind of partition ("2core") and `name` the piece ("pe0-1"); both are empty for the whole card. A name is stable,
    short, made of letters, digits and "-", and belongs to one part of the card. `location` is its place below the card, empty where
    parts have none. `unusable` says why containers cannot be given it, empty if they can.
    """

    kind: str = ""
    name: str = ""
    edits: ContainerEdits = ContainerEdits()
    location: tuple[str, ...] = ()
    unusable: str = ""


WHOLE = Part()
"""A whole card that needs nothing."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One physical card or chip found on the host.

    `id` is stable over reboots and re-enumeration (see `identity.stable_id`) and unique on the node. `name` is the kernel's name of
    the card ("npu0"), which is stable over neither; it is empty for a card without a driver. `location` is the path from the root of
    the machine's tree down to the card: NUMA node, PCIe root, switches, card. `numa_node` is None where the host does not know it; a
    negative one, as the kernel writes it, is made None by whoever calls the backend. `unusable` is empty for a card that containers
    can be given, else why they cannot and what to do ("no driver is bound to 0000:6d:00.0; load furiosa_rngd"): such a card is shown
    to people and not handed to kubelet. `attributes` are what else the backend knows and selectors may ask for, as pairs. `notices`
    are what an administrator should know of a card that can be used all the same. `parts` are all that can be handed out by itself,
    of every kind, the whole card first; an unusable card has none. `model_line` is what its family says of all its cards.
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
    notices: tuple[str, ...] = ()
    parts: tuple[Part, ...] = (WHOLE,)
    model_line: ModelLine = UNDESCRIBED

    @property
    def model(self) -> str:
        """Its attribute `model`, empty if it has none."""
        return dict(self.attributes).get("model", "")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one look at a card's health said. `reason` is empty when healthy, else a sentence that an administrator can act on."""

    healthy: bool
    reason: str = ""
