"""Where the cards of a family are found on a host, what says which card is which, and of which model it is."""

from typing import Annotated

import msgspec
from msgspec import Meta

from npu_agent.core.model_line import Product
from npu_agent.core.rules import Check
from npu_agent.families.attributes import Attribute, Said
from npu_agent.families.texts import (
    PciClass,
    PciId,
    Values,
    card_name_mistake,
    empty_mistake,
    entries_mistake,
    file_name_mistake,
    name_mistake,
)

CardName = Annotated[str, Check(card_name_mistake)]


def _folder_mistake(text: str) -> str:
    return "" if text == "/dev" or (text.startswith("/dev/") and not file_name_mistake(text[5:])) else file_name_mistake(text)


_Ids = Annotated[list[PciId], Check(empty_mistake)]
_GUARDS = 'attributes, and for each the values of which it must have one, `""` for one that is not there'


class Pci(msgspec.Struct, frozen=True, kw_only=True):
    """Which PCI functions are cards of the family, so that one without its driver is seen too."""

    vendor: Annotated[PciId, Meta(description='the PCI id of the vendor as `lspci -n` and sysfs have it, such as `"0x1ed2"`')]
    devices: Annotated[_Ids, Meta(description="the PCI ids of its cards; left out for all of the vendor, or of `classes`")] = []
    classes: Annotated[
        list[PciClass], Check(empty_mistake), Meta(description='beginnings of PCI classes, such as `"0x1200"`; left out for all')
    ] = []
    driver: Annotated[
        str, Meta(description="the driver that a card should have, for what people are told about one that has none, or `vfio-pci`")
    ] = ""
    linked: Annotated[
        bool,
        Meta(
            description="whether entries lead to their PCI functions; if not, a function that has its driver is taken for one that an"
            " entry shows"
        ),
    ] = True
    name: Annotated[CardName, Meta(description="what people call a card, in a family without `class`")] = "npu{index}"
    guards: Annotated[dict[str, Values], Meta(description=f"in a family without `class`: {_GUARDS}, or the card cannot be used")] = {}


class ClassEntries(msgspec.Struct, frozen=True, kw_only=True):
    """Where the driver shows its cards: the entries of a folder."""

    folder: Annotated[
        str, Check(_folder_mistake), Meta(description="the folder below `/sys/class`; or `/dev`, for device nodes of a class with no name")
    ]
    entries: Annotated[
        str,
        Check(entries_mistake),
        Meta(
            description="the names of the entries that are whole cards. sysfs writes `!` for `/`: `/dev/rngd/npu0mgmt` is the entry"
            " `rngd!npu0mgmt`"
        ),
    ]
    name: Annotated[CardName, Meta(description="what people call a card")] = "npu{index}"
    guards: Annotated[
        dict[str, Values], Meta(description=f"{_GUARDS}, or the entry is none of ours. Without guards the PCI id decides")
    ] = {}

    @property
    def path(self) -> str:
        """The folder on the host."""
        return self.folder if self.folder.startswith("/") else f"/sys/class/{self.folder}"


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which attributes say what a card is. An absent one is not asked for."""

    pci_address: (
        Annotated[
            Attribute,
            Meta(
                description="the attribute with the PCI address; left out, the entry's link `device` leads to it, or the entry is below it"
            ),
        ]
        | None
    ) = None
    uuid: (
        Annotated[Said, Meta(description="names the card for good; a device's id is the uuid, else the serial, else the address")] | None
    ) = None
    serial: Annotated[Said, Meta(description="names the card for good, too")] | None = None
    firmware: Annotated[Said, Meta(description="a version, for people")] | None = None
    driver: Annotated[Said, Meta(description="a version, for people")] | None = None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the line, told by its PCI device id or by an attribute."""

    name: Annotated[str, Check(name_mistake), Meta(description="its name, which selectors know as `models`")]
    devices: Annotated[_Ids, Meta(description="the PCI ids of such cards")] = []
    attribute: Annotated[Said, Meta(description="instead of those, what tells the model")] | None = None
    values: Annotated[Values, Meta(description="and what it says of such cards")] = []
    product: Annotated[Product, Meta(description="what the data sheet says of the model, instead of the family's `product`")] = Product()
