"""Family descriptions: what a model line of accelerators looks like in sysfs and `/dev`, as data. docs/backends.md shows whole files."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from npu_agent.families.errors import FamilyError
from npu_agent.schema.fields import Check, Mistake, below, line_of, read, shown

_SHIPPED = Path(__file__).parent

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_PCI_ID = re.compile(r"0x[0-9a-f]{4}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
_PART_NAME = re.compile(r"[A-Za-z0-9-]{1,32}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ENVIRONMENT_PLACEHOLDERS = ("index", "part", "pci_address", "serial", "uuid")


def _name_mistake(text: str) -> str:
    return "" if _NAME.fullmatch(text) else f"expected small letters, digits, '-' and '.', got {shown(text)}"


def _pci_id_mistake(text: str) -> str:
    return "" if _PCI_ID.fullmatch(text) else f"expected a PCI id such as 0x1ed2, got {shown(text)}"


def _file_name_mistake(text: str) -> str:
    is_name = text.isprintable() and text not in ("", ".", "..") and "/" not in text
    return "" if is_name else f"expected the name of a file, got {shown(text)}"


def _attribute_mistake(text: str) -> str:
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
    return _placeholder_mistake(text, ("index", "each"))


def _node_path_mistake(text: str) -> str:
    if not text.startswith("/dev/"):
        return f"expected a path below /dev/, got {shown(text)}"
    return _path_mistake(text)


def _permissions_mistake(text: str) -> str:
    return "" if re.fullmatch(r"r?w?m?", text) and text else f"expected some of rwm in this order, got {shown(text)}"


def _empty_mistake(values: Sequence[object]) -> str:
    return "" if values else "expected at least one value, got none"


def _placeholder_mistake(text: str, known: Sequence[str]) -> str:
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            return f"{{{name}}} is not a placeholder here; there are {', '.join(f'{{{name}}}' for name in known)}"
    return ""


PciId = Annotated[str, Check(_pci_id_mistake)]
Attribute = Annotated[str, Check(_attribute_mistake)]
Values = Annotated[list[str], Check(_empty_mistake)]


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
    mounts: list[Mount] = []
    environment: dict[str, str] = {}


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """Return `pattern` with its placeholders filled, in one pass, so that a value is never a pattern itself."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], pattern)


def matcher(pattern: str) -> re.Pattern[str]:
    """Return what matches the names that `pattern` makes of an index, with the index as its only group."""
    before, _, after = pattern.partition("{index}")
    return re.compile(f"{re.escape(before)}([0-9]{{1,6}}){re.escape(after)}")


def parse(text: str, place: str) -> Family:
    """Return the family that `text` describes; `place` is the file that it came from. Raises FamilyError with every mistake."""
    from npu_agent.schema.document import DocumentError, parse  # YAML costs some milliseconds that a check of options need not pay

    try:
        document = parse(text)
    except DocumentError as error:
        raise FamilyError(f"{place}: {error}") from error
    family, mistakes = read(document.data, Family)
    if family is not None:
        mistakes = list(_contradictions(family))
    if family is None or mistakes:
        told = [f"line {line}: {mistake}" if (line := line_of(mistake.path, document.lines)) else str(mistake) for mistake in mistakes]
        raise FamilyError(f"{place}: {told[0]}" if len(told) == 1 else "\n  ".join([f"{place} has {len(told)} mistakes:", *told]))
    return family


def read_family(path: Path) -> Family:
    """Return the family in the file. Raises FamilyError, also for a file that cannot be read."""
    from npu_agent.schema.document import DocumentError, read_text

    try:
        text = read_text(path)
    except OSError as error:
        raise FamilyError(f"{path}: cannot be read: {error.strerror}") from error
    except DocumentError as error:
        raise FamilyError(f"{path}: {error}") from error
    return parse(text, str(path))


def shipped_names() -> list[str]:
    """Return the names of the families that ship, in order."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def read_shipped(name: str) -> Family:
    """Return the family of this name that ships."""
    return read_family(_SHIPPED / f"{name}.yaml")


def read_folder(folder: str) -> dict[str, Family]:
    """Return the families in an administrator's folder, by name. Raises FamilyError, also for a folder that cannot be read."""
    families: dict[str, Family] = {}
    places: dict[str, Path] = {}
    for path in _family_files(folder):
        family = read_family(path)
        if family.name in families:
            raise FamilyError(f"{path}: name: {places[family.name]} is named {family.name!r} already; a family has one file")
        families[family.name], places[family.name] = family, path
    return families


def _family_files(folder: str) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise FamilyError(f"{folder}: cannot be read: {error.strerror}") from error
    return [Path(folder, name) for name in names if name.endswith((".yaml", ".yml")) and not name.startswith(".")]


def _contradictions(family: Family) -> Iterator[Mistake]:
    """Yield what is wrong between fields that are each right by themselves."""
    for attribute in family.entries.guards:
        if wrong := _attribute_mistake(attribute):
            yield Mistake(below("class.guards", attribute), wrong)
    for place, node in ((f"nodes[{index}]", node) for index, node in enumerate(family.nodes)):
        used = {name for text in (node.path, node.container_path or "") for name in _PLACEHOLDER.findall(text)}
        if bool(node.each) != ("each" in _PLACEHOLDER.findall(node.path)):
            yield Mistake(f"{place}.each", "each goes with {each} in the path; give both or neither")
        elif node.each and node.container_path is not None and "each" not in used & set(_PLACEHOLDER.findall(node.container_path)):
            yield Mistake(f"{place}.container_path", "expected {each} in it too, or all nodes would be one in the container")
        for position, value in enumerate(node.each):
            if not re.fullmatch(r"[A-Za-z0-9._-]*", value) or value in (".", ".."):
                yield Mistake(f"{place}.each[{position}]", f"expected letters, digits, '.', '_' and '-', got {shown(value)}")
    yield from _partition_contradictions(family)
    for label in family.labels:
        if not _NAME.fullmatch(label) or label == "notice":
            yield Mistake(below("labels", label), "expected small letters, digits, '-' and '.', and not notice, which is the agent's own")
    for place, mount in ((f"mounts[{index}]", mount) for index, mount in enumerate(family.mounts)):
        for text in (mount.host_path, mount.container_path or ""):
            if wrong := _placeholder_mistake(text, ("index",)):
                yield Mistake(place, wrong)
    for variable, value in family.environment.items():
        path = below("environment", variable)
        if not _VARIABLE.fullmatch(variable):
            yield Mistake(path, "expected the name of a variable: letters, digits and '_'")
        if wrong := _placeholder_mistake(value, ENVIRONMENT_PLACEHOLDERS):
            yield Mistake(path, wrong)


def _partition_contradictions(family: Family) -> Iterator[Mistake]:
    divided = {value for node in family.nodes if node.divided for value in node.each}
    kinds: dict[str, str] = {}
    for kind, parts in family.partitions.items():
        place = below("partitions", kind)
        if not _NAME.fullmatch(kind):
            yield Mistake(place, f"expected small letters, digits, '-' and '.', got {shown(kind)}")
        if not parts:
            yield Mistake(place, "expected at least one part, got none")
        for part, values in parts.items():
            if not _PART_NAME.fullmatch(part):
                yield Mistake(below(place, part), f"expected at most 32 letters, digits and '-', got {shown(part)}")
            if part in kinds:
                yield Mistake(below(place, part), f"{kinds[part]} has a part of this name already; a part belongs to one kind")
            kinds[part] = kind
            for index, value in enumerate(values):
                if value not in divided:
                    yield Mistake(f"{below(place, part)}[{index}]", f"{shown(value)} is in the each of no node that is divided")
