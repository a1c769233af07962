"""What the host says of one card: read when it appears, in a thread, since a read is a call into a driver."""

import os
import re
import stat
from dataclasses import dataclass, field

from npu_agent.backends.sysfs.attributes import Place
from npu_agent.backends.sysfs.functions import ADDRESS, PCI_DEVICES, PciFunction, is_of, read_function
from npu_agent.backends.sysfs.health import Judge, judges
from npu_agent.families.attributes import Source, name_of
from npu_agent.families.family import Family
from npu_agent.families.finding import ClassEntries, Model
from npu_agent.families.texts import fill, placeholders
from npu_agent.host.files import as_text, raise_if_short, resolve

_DEVICE_NUMBER = re.compile(r"([1-9][0-9]{0,5}):[0-9]{1,7}")
_INDEX = re.compile(r"[0-9]{1,6}")
_FOUND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+:-]{0,127}")


@dataclass(frozen=True, slots=True)
class Sighting:
    """Where a card of a family is shown: an entry of the class `position` of the family, or a PCI function, for which it is -1.

    `index` is the number in the entry's name. `identity` changes if another entry takes the name.
    """

    family: str
    path: str
    index: str
    identity: tuple[int, int]
    position: int = 0

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Entry:
    """What an entry says of its card. `read` fills it in, so what a read that hangs has found so far is there too.

    `refusal` says why the entry is no card of the family, `trouble` why it cannot be told; both are empty for one that is. A driver may
    be about to make what is not there: `unmarked` says that the refusal is for a missing mark, `unnamed` which of uuid and serial are
    missing. `unplaced` says what of its place is missing without which it cannot be handed out. `filled` are what is filled into paths and
    texts. `major` is the number of the driver of the entry's own device node, 0 if there is none. `health` has the rules with the
    path of the attribute of each, and `warnings` what those said last that do not fail. `confirmed` is set when a second read has said
    the same, `late` while nobody waits for the read any more, and `hangs` when it did not come back in its time.
    """

    sighting: Sighting
    family: Family
    complete: bool = False
    refusal: str = ""
    trouble: str = ""
    folder: str = ""
    pci_address: str = ""
    function: PciFunction | None = None
    notice: str = ""
    unmarked: bool = False
    unnamed: tuple[str, ...] = ()
    unplaced: str = ""
    filled: dict[str, str] = field(default_factory=dict)
    model: Model | None = None
    offered: frozenset[str] | None = None
    major: int = 0
    values: dict[str | Source, str] = field(default_factory=dict)
    health: tuple[Judge, ...] = ()
    warnings: tuple[str, ...] = field(default=(), compare=False)
    confirmed: bool = field(default=False, compare=False)
    late: bool = field(default=False, compare=False)
    hangs: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if self.shown_by is None:
            self.pci_address = self.sighting.name

    @property
    def shown_by(self) -> ClassEntries | None:
        """The class of the family that the entry is of, None where the PCI function is the card."""
        return self.family.entries[self.sighting.position] if self.sighting.position >= 0 else None

    @property
    def answered(self) -> bool:
        """Whether the entry has been read to the end once, well or not."""
        return self.complete or bool(self.trouble)

    @property
    def doubtful(self) -> bool:
        """Whether it may have been read while its driver was making its files: it is one of our cards, and its name is missing."""
        return self.complete and not self.refusal and bool(self.unnamed or self.unplaced) and not self.confirmed

    @property
    def name(self) -> str:
        """What people call the card, empty while that is not known."""
        pattern = self.shown_by.name if self.shown_by else self.family.pci.name if self.family.pci else ""
        known = self.filled or ({"index": self.sighting.index} if self.sighting.index and self.family.index is None else {})
        return fill(pattern, known) if all(name in known for name in placeholders(pattern)) else ""

    @property
    def own_node(self) -> str:
        """The device node that the entry itself stands for, empty if there is none."""
        if self.shown_by is None:
            return ""
        return self.sighting.path if self.shown_by.path.startswith("/dev") else "/dev/" + self.sighting.name.replace("!", "/")

    @property
    def stands_for(self) -> str:
        """The path on the host that is there as long as the entry is."""
        return self.sighting.path if self.own_node == self.sighting.path else self.folder

    def place(self, prefix: str) -> Place:
        """Return where its attributes are."""
        function = self.function.path if self.function else f"{PCI_DEVICES}/{self.pci_address or 'unknown'}"
        return Place(prefix, self.folder, function, self.filled)

    def read(self, prefix: str) -> None:
        """Read what identifies the card, through the host's root `prefix`. Raises ShortOfResources."""
        self.trouble = self.refusal = self.notice = self.unplaced = ""
        self.pci_address = self.sighting.name if self.shown_by is None else ""
        self.function = None
        self.unmarked = False
        self.filled = {}
        try:
            self._find_folder(prefix)
            if self.trouble:
                return
            self._find_function(prefix)
            self._fill(prefix)
            self.refusal = self._refusal(prefix)
            if not self.refusal:
                self._read_values(prefix)
                self.health = judges(self.family.health, self.place(prefix))
        except OSError as error:
            self.trouble = f"{_shown(error.filename or self.folder, prefix)} cannot be read: {error.strerror}"
            return
        self.complete = True

    def value(self, said: str | Source | None) -> str:
        """Return what was said, empty if it was not there."""
        return self.values.get(said, "") if said else ""

    def _find_folder(self, prefix: str) -> None:
        self.folder = resolve(prefix, self.sighting.path)
        if self.shown_by is not None and self.shown_by.path.startswith("/dev"):
            status = os.lstat(prefix + self.folder)
            if not stat.S_ISCHR(status.st_mode):
                self.trouble = f"{self.sighting.path} is no character device"
                return
            self.major = os.major(status.st_rdev)
            self.folder = resolve(prefix, f"/sys/dev/char/{self.major}:{os.minor(status.st_rdev)}")
        elif not _is_folder(prefix + self.folder):
            self.trouble = f"{self.sighting.path} leads to {as_text(self.folder)}, which is not there"

    def _find_function(self, prefix: str) -> None:
        attribute = self.family.identity.pci_address
        if self.shown_by is None:
            text, said = self.sighting.name, "its address"
        elif attribute:
            text = self.place(prefix).value(attribute) or ""
            said = f"its {attribute} reads {text!r}"
        else:
            text = self._address_above(prefix)
            said = "it has no link to a PCI function"
        address = text.lower()
        is_told = self.family.pci is not None and self.family.pci.linked
        if not ADDRESS.fullmatch(address):
            if is_told:
                self.notice = f"{said}, which is no PCI address, so its place in the machine is unknown"
            return
        self.pci_address = address
        self.function = read_function(prefix, address)
        if self.function is None:
            self.notice = f"{said}, which is not on the PCI bus, so its place in the machine is unknown"

    def _address_above(self, prefix: str) -> str:
        """Return the PCI address that the entry's link `device` leads to, or else that of the folder that the entry is below."""
        linked = as_text(resolve(prefix, f"{self.folder}/device").rpartition("/")[2])
        if ADDRESS.fullmatch(linked):
            return linked
        return next((part for part in reversed(self.folder.split("/")) if ADDRESS.fullmatch(part)), linked)

    def _fill(self, prefix: str) -> None:
        """Find what is filled into paths and texts. What is not known is left out."""
        function, index = self.function, self.sighting.index
        numa_node = "" if function is None or function.numa_node is None else str(function.numa_node)
        group = function.iommu_group if function else ""
        known = {"pci_address": self.pci_address, "iommu_group": group, "numa_node": numa_node}
        self.filled = {name: value for name, value in known.items() if value}
        if self.family.index is not None:
            text = self.place(prefix).value(self.family.index)
            index = text if text is not None and _INDEX.fullmatch(text) else ""
            if not index:
                said = "is missing" if text is None else f"reads {text!r}"
                self.unplaced = f"its {name_of(self.family.index)}, which says its number, {said}"
        if index:
            self.filled["index"] = index
        if name := self.name:
            self.filled["name"] = name

    def _refusal(self, prefix: str) -> str:
        guards = self.shown_by.guards if self.shown_by else self.family.pci.guards if self.family.pci else {}
        for attribute, expected in guards.items():
            text = self.place(prefix).value(attribute)
            if (text or "") not in expected:
                self.unmarked = text is None
                said = "is missing" if text is None else f"reads {text!r}"
                return f"its {attribute} {said} and not {' or '.join(map(repr, expected))}"
        # A class folder without marks of its own is shared by drivers of many vendors, so the PCI id must tell.
        pci = self.family.pci
        if pci is not None and pci.linked and not guards and not is_of(self.function, self.family):
            return "its PCI function is of another kind"
        return ""

    def _read_values(self, prefix: str) -> None:
        family, identity, place = self.family, self.family.identity, self.place(prefix)
        naming: list[str | Source] = [one for one in (identity.uuid, identity.serial) if one]
        said = {one: place.value(one) for one in naming}
        self.unnamed = tuple(name_of(one) for one in naming if said[one] is None)
        self.values |= {one: text or "" for one, text in said.items()}
        self.major = self.major or self._major(prefix)
        others: list[str | Source | None] = [identity.firmware, identity.driver, *family.labels.values(), *family.found.values()]
        others += [model.attribute for model in family.models]
        for one in [one for one in others if one]:
            try:
                self.values[one] = place.value(one) or ""
            except OSError:  # a card without a readable firmware version is a card all the same
                self.values[one] = ""
        for name, said_by in family.found.items():
            if _FOUND.fullmatch(self.value(said_by)):
                self.filled[name] = self.value(said_by)
        self.unplaced = self.unplaced or self._missing_for_nodes()
        self.model = next(filter(self._is_of_model, family.models), None)
        if family.offered is not None and (text := place.value(family.offered)) is not None:
            self.offered = frozenset(text.replace(",", " ").split())

    def _is_of_model(self, model: Model) -> bool:
        if model.attribute:
            return self.value(model.attribute) in model.values
        return self.function is not None and self.function.device in model.devices

    def _missing_for_nodes(self) -> str:
        own = self.shown_by.folder if self.shown_by else ""
        for node in self.family.nodes:
            if node.required and node.folder in ("", own):
                for name in placeholders(node.path):
                    if name != "each" and name not in self.filled:
                        of = f"no {name_of(self.family.found[name])}" if name in self.family.found else f"no {name.replace('_', ' ')}"
                        return f"it has {of}, which is in the name of its device node"
        return ""

    def _major(self, prefix: str) -> int:
        try:
            found = _DEVICE_NUMBER.fullmatch(self.place(prefix).value("dev") or "") if self.shown_by else None
        except OSError:
            return 0
        return int(found[1]) if found else 0


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise_if_short(error)
        return False


def _shown(path: str | bytes, prefix: str) -> str:
    return as_text(os.fsdecode(path).removeprefix(prefix))
