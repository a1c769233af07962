"""Family descriptions: what a model line of accelerators looks like in sysfs and `/dev`, as data. docs/backends.md shows whole files."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from npu_agent.core.model_line import LabelRule, Product
from npu_agent.core.rules import Check
from npu_agent.schema.mistakes import shown

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_CDI_DEVICE = re.compile(
    r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?"
)
"""VENDOR/CLASS=NAME, by the rules of the Container Device Interface (SPEC.md, "kind" and "name")."""

_PCI_ID = re.compile(r"0x[0-9a-f]{4}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
PLACEHOLDERS = ("index", "part", "pci_address", "serial", "uuid")
"""What can be filled into the texts that a container gets: environment, annotations and names of CDI devices."""


MAX_TEXT = 4096


def placeholders(pattern: str) -> list[str]:
    """Return the names of the placeholders in `pattern`, in order."""
    return _PLACEHOLDER.findall(pattern)


def is_name(text: str) -> bool:
    """Return whether `text` can be the name of a family, of a kind of partition or of a label."""
    return _NAME.fullmatch(text) is not None


def _name_mistake(text: str) -> str:
    return "" if is_name(text) else f"expected small letters, digits, '-' and '.', got {shown(text)}"


def _pci_id_mistake(text: str) -> str:
    return "" if _PCI_ID.fullmatch(text) else f"expected a PCI id such as 0x1ed2, got {shown(text)}"


def _file_name_mistake(text: str) -> str:
    is_name = text.isprintable() and text not in ("", ".", "..") and "/" not in text
    return "" if is_name else f"expected the name of a file, got {shown(text)}"


def attribute_mistake(text: str) -> str:
    """Return what is wrong with the name of an attribute, empty if nothing is."""
    parts = text.removeprefix("pci:").split("/")
    if any(_file_name_mistake(part) for part in parts):
        return f"expected the name of an attribute, or a path below the entry such as device/status, got {shown(text)}"
    return ""


def _pattern_mistake(text: str) -> str:
    if _PLACEHOLDER.findall(text) != ["index"]:
        return f"expected a name with {{index}} in it once, got {shown(text)}"
    return _file_name_mistake(text)


def _path_mistake(text: str) -> str:
    is_path = text.startswith("/") and text.isprintable() and ".." not in text.split("/") and len(text) <= 1024
    if not is_path:
        return f"expected an absolute path, got {shown(text)}"
    return placeholder_mistake(text, ("index", "each"))


def _node_path_mistake(text: str) -> str:
    if not text.startswith("/dev/"):
        return f"expected a path below /dev/, got {shown(text)}"
    return _path_mistake(text)


def _permissions_mistake(text: str) -> str:
    return "" if re.fullmatch(r"r?w?m?", text) and text else f"expected some of rwm in this order, got {shown(text)}"


def _empty_mistake(values: Sequence[object]) -> str:
    return "" if values else "expected at least one value, got none"


def placeholder_mistake(text: str, known: Sequence[str]) -> str:
    """Return which placeholder of `text` is not a `known` one, empty if all are."""
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            return f"{{{name}}} is not a placeholder here; there are {', '.join(f'{{{name}}}' for name in known)}"
    return ""


def _text_mistake(text: str) -> str:
    if not text.isprintable() or len(text) > MAX_TEXT:
        return f"expected printable characters, at most {MAX_TEXT}, got {shown(text)}"
    return placeholder_mistake(text, PLACEHOLDERS)


def _cdi_device_mistake(text: str) -> str:
    if not _CDI_DEVICE.fullmatch(_PLACEHOLDER.sub("0", text)) or len(text) > MAX_TEXT:
        return f"expected the whole name of a CDI device, such as furiosa.ai/rngd={{index}}, got {shown(text)}"
    return placeholder_mistake(text, PLACEHOLDERS)


PciId = Annotated[str, Check(_pci_id_mistake)]
Attribute = Annotated[str, Check(attribute_mistake)]
Values = Annotated[list[str], Check(_empty_mistake)]
Text = Annotated[str, Check(_text_mistake)]
"""A text for containers, with placeholders."""


class Pci(msgspec.Struct, frozen=True, kw_only=True):
    """Which PCI functions are cards of the family, so that one without its driver is seen too."""

    vendor: PciId
    devices: Annotated[list[PciId], Check(_empty_mistake)]
    driver: str = ""
    """The kernel's driver of the cards, for what people are told about a card that it does not have."""


class ClassEntries(msgspec.Struct, frozen=True, kw_only=True):
    """Where the driver shows its cards: the entries of a folder below /sys/class."""

    folder: Annotated[str, Check(_file_name_mistake)]
    entries: Annotated[str, Check(_pattern_mistake)]
    name: Annotated[str, Check(_pattern_mistake)] = "npu{index}"
    """What people call the card."""
    guards: dict[str, Values] = {}
    """Attributes of which each must have one of the values, or the entry is none of ours."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which attributes say what a card is. An empty one is not asked for."""

    pci_address: Attribute | None = None
    """Absent, the entry's `device` link leads to the PCI function."""
    uuid: Attribute | None = None
    serial: Attribute | None = None
    firmware: Attribute | None = None
    driver: Attribute | None = None


class HealthRule(msgspec.Struct, frozen=True, kw_only=True):
    """A card is healthy while the attribute has one of the values. What cannot be read is unhealthy."""

    attribute: Attribute
    healthy: Values
    missing: Literal["unhealthy", "healthy"] = "unhealthy"
    """What it means if there is no such attribute, as with an older driver."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A device node of a card, or one for each value of `each`."""

    path: Annotated[str, Check(_node_path_mistake)]
    container_path: Annotated[str, Check(_path_mistake)] | None = None
    permissions: Annotated[str, Check(_permissions_mistake)] = "rw"
    required: bool = True
    """An allocation fails without a required node; another one is left out where the host does not have it."""
    each: list[str] = []
    divided: bool = False
    """Whether a part of the card gets only those of `each` that it names, and none without `each`."""
    shared: bool = False
    """Whether it belongs to no card alone, so that containers with other cards are given the same one."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of the host that containers get."""

    host_path: Annotated[str, Check(_path_mistake)]
    container_path: Annotated[str, Check(_path_mistake)] | None = None
    read_only: bool = True


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A model line of accelerators."""

    name: Annotated[str, Check(_name_mistake)]
    pci: Pci | None = None
    entries: ClassEntries = msgspec.field(name="class")
    identity: Identity = Identity()
    health: list[HealthRule] = []
    nodes: Annotated[list[Node], Check(_empty_mistake)]
    partitions: dict[str, dict[str, Values]] = {}
    """For each kind of part its parts, and for each part the values of `each` whose divided nodes it gets."""
    labels: dict[str, Attribute] = {}
    """What else to tell of a card, and the attribute that says it."""
    product: Product = Product()
    node_labels: list[LabelRule] = []
    """Labels of nodes with such cards, beside those that every family has."""
    mounts: list[Mount] = []
    environment: dict[str, Text] = {}
    annotations: dict[str, Text] = {}
    """Annotations of the container, which CRI-O and containerd hand on to hooks and runtimes."""
    cdi_devices: list[Annotated[str, Check(_cdi_device_mistake)]] = []
    """Whole names of CDI devices that the runtime is to inject."""


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """Return `pattern` with its placeholders filled, in one pass, so that a value is never a pattern itself."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], pattern)


def matcher(pattern: str) -> re.Pattern[str]:
    """Return what matches the names that `pattern` makes of an index, with the index as its only group."""
    before, _, after = pattern.partition("{index}")
    return re.compile(f"{re.escape(before)}([0-9]{{1,6}}){re.escape(after)}")
