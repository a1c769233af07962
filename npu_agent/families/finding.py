"""Where the cards of a family are found on a host, and which attributes say what a card is."""

from typing import Annotated

import msgspec

from npu_agent.core.rules import Check
from npu_agent.families.texts import Attribute, PciId, Values, empty_mistake, file_name_mistake, pattern_mistake


class Pci(msgspec.Struct, frozen=True, kw_only=True):
    """Which PCI functions are cards of the family, so that one without its driver is seen too."""

    vendor: PciId
    devices: Annotated[list[PciId], Check(empty_mistake)]
    driver: str = ""
    """The kernel's driver of the cards, for what people are told about a card that it does not have."""


class ClassEntries(msgspec.Struct, frozen=True, kw_only=True):
    """Where the driver shows its cards: the entries of a folder below /sys/class."""

    folder: Annotated[str, Check(file_name_mistake)]
    entries: Annotated[str, Check(pattern_mistake)]
    name: Annotated[str, Check(pattern_mistake)] = "npu{index}"
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
