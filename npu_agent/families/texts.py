"""The texts that a family description is made of: names, paths with placeholders, and what is wrong with each."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from npu_agent.core.rules import Check
from npu_agent.schema.mistakes import shown

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_CDI_DEVICE = re.compile(
    r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?/[A-Za-z]([A-Za-z0-9_-]*[A-Za-z0-9])?=[A-Za-z0-9]([A-Za-z0-9_.:-]*[A-Za-z0-9])?"
)
"""VENDOR/CLASS=NAME, by the rules of the Container Device Interface (SPEC.md, "kind" and "name")."""

_PCI_ID = re.compile(r"0x[0-9a-f]{4}")
_PCI_CLASS = re.compile(r"0x[0-9a-f]{2,6}")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")

PLACE = ("index", "pci_address", "iommu_group", "numa_node")
"""What says where a card is: it can be filled into its name."""

CARD = (*PLACE, "name")
"""What can be filled into the paths of attributes, nodes and mounts."""

CONTAINER = (*CARD, "part", "model", "serial", "uuid")
"""What can be filled into the texts that a container gets: environment, annotations and names of CDI devices."""

MAX_TEXT = 4096


def placeholders(pattern: str) -> list[str]:
    """Return the names of the placeholders in `pattern`, in order."""
    return _PLACEHOLDER.findall(pattern)


def placeholder_mistake(text: str, known: Sequence[str]) -> str:
    """Return which placeholder of `text` is not a `known` one, empty if all are."""
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            return f"{{{name}}} is not a placeholder here; there are {', '.join(f'{{{name}}}' for name in known)}"
    return ""


def is_name(text: str) -> bool:
    """Return whether `text` can be the name of a family, of a kind of partition, of a model or of a label."""
    return _NAME.fullmatch(text) is not None


def name_mistake(text: str) -> str:
    """Return what is wrong with the name of a family or a model, empty if nothing is."""
    return "" if is_name(text) else f"expected small letters, digits, '-' and '.', got {shown(text)}"


def _pci_id_mistake(text: str) -> str:
    return "" if _PCI_ID.fullmatch(text) else f"expected a PCI id such as 0x1ed2, got {shown(text)}"


def _pci_class_mistake(text: str) -> str:
    return "" if _PCI_CLASS.fullmatch(text) else f"expected the beginning of a PCI class such as 0x1200, got {shown(text)}"


def file_name_mistake(text: str) -> str:
    """Return what is wrong with the name of a file, empty if nothing is."""
    is_name = text.isprintable() and text not in ("", ".", "..") and "/" not in text
    return "" if is_name else f"expected the name of a file, got {shown(text)}"


def entries_mistake(text: str) -> str:
    """Return what is wrong with the names of entries, which have an index in them, empty if nothing is."""
    if _PLACEHOLDER.findall(text) != ["index"]:
        return f"expected a name with {{index}} in it once, got {shown(text)}"
    return file_name_mistake(text)


def card_name_mistake(text: str) -> str:
    """Return what is wrong with what people call a card, empty if nothing is."""
    if not _PLACEHOLDER.findall(text):
        return f"expected a name with {{index}} in it, or another place of a card, got {shown(text)}"
    return placeholder_mistake(text, PLACE) or file_name_mistake(text)


def path_mistake(text: str) -> str:
    """Return what is wrong with an absolute path, but for its placeholders, empty if nothing is."""
    is_path = text.startswith("/") and text.isprintable() and ".." not in text.split("/") and len(text) <= 1024
    return stars_mistake(text) if is_path else f"expected an absolute path, got {shown(text)}"


def stars_mistake(text: str) -> str:
    """Return what is wrong with the `*` in a path, empty if nothing is."""
    return "" if all(part.count("*") < 2 for part in text.split("/")) else f"expected at most one * between two /, got {shown(text)}"


def node_path_mistake(text: str) -> str:
    """Return what is wrong with the path of a device node, empty if nothing is."""
    if not text.startswith("/dev/"):
        return f"expected a path below /dev/, got {shown(text)}"
    return path_mistake(text) or ("a * is not for nodes; name what is found by `found`" if "*" in text else "")


def permissions_mistake(text: str) -> str:
    """Return what is wrong with the permissions of a node, empty if nothing is."""
    return "" if re.fullmatch(r"r?w?m?", text) and text else f"expected some of rwm in this order, got {shown(text)}"


def empty_mistake(values: Sequence[object]) -> str:
    """Return what is wrong with a list that must not be empty, empty if nothing is."""
    return "" if values else "expected at least one value, got none"


def _text_mistake(text: str) -> str:
    if not text.isprintable() or len(text) > MAX_TEXT:
        return f"expected printable characters, at most {MAX_TEXT}, got {shown(text)}"
    return ""


def cdi_device_mistake(text: str) -> str:
    """Return what is wrong with the whole name of a CDI device, but for its placeholders, empty if nothing is."""
    if not _CDI_DEVICE.fullmatch(_PLACEHOLDER.sub("0", text)) or len(text) > MAX_TEXT:
        return f"expected the whole name of a CDI device, such as furiosa.ai/rngd={{index}}, got {shown(text)}"
    return ""


PciId = Annotated[str, Check(_pci_id_mistake)]
PciClass = Annotated[str, Check(_pci_class_mistake)]
Values = Annotated[list[str], Check(empty_mistake)]
Text = Annotated[str, Check(_text_mistake)]
"""A printable text that people or containers get."""


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """Return `pattern` with its placeholders filled, in one pass, so that a value is never a pattern itself."""
    return _PLACEHOLDER.sub(lambda found: values[found[1]], pattern)


def matcher(pattern: str) -> re.Pattern[str]:
    """Return what matches the names that `pattern` makes of an index, with the index as its only group."""
    before, _, after = pattern.partition("{index}")
    return re.compile(f"{re.escape(before)}([0-9]{{1,6}}){re.escape(after)}")
