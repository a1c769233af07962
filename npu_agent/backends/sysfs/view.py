"""What sysfs shows of accelerators: PCI functions and entries of class folders, read no more often than they change.

All of it runs in threads of `bounded.Readers`, since a read is a call into a driver.
"""

import os
import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from npu_agent.families.family import Family
from npu_agent.families.health import HealthRule
from npu_agent.families.texts import matcher
from npu_agent.host.files import as_text, below_root, entries, link_name, raise_if_short, read_text, resolve

_PCI_DEVICES = "/sys/bus/pci/devices"
_ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_DEVICE_NUMBER = re.compile(r"([1-9][0-9]{0,5}):[0-9]{1,7}")
_MAX_NUMA_NODE = 1023
"""The kernel is built for 1024 nodes at the most."""


@dataclass(frozen=True, slots=True)
class PciFunction:
    """A function on the PCI bus. `path` is its folder on the host, with all links followed; `driver` is empty if none is bound."""

    address: str
    vendor: str
    device: str
    path: str
    numa_node: int | None = None
    driver: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """An entry of a class folder that a family knows by its name. `identity` changes if another entry takes the name."""

    family: str
    path: str
    index: str
    identity: tuple[int, int]

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(slots=True)
class Entry:
    """What an entry says of its card. `read` fills it in, so what a read that hangs has found so far is there too.

    `refusal` says why the entry is no card of the family, `trouble` why it cannot be told; both are empty for one that is. A driver may
    be about to make what is not there: `unmarked` says that the refusal is for a missing mark, `unnamed` which of uuid and serial are
    missing. `major` is the number of the driver of the entry's own device node, 0 if there is none. `health` has the rules with the
    path of the attribute of each. `confirmed` is set when a second read has said the same, `late` while nobody waits for the read any
    more, and `hangs` when it did not come back in its time.
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
    major: int = 0
    values: dict[str, str] = field(default_factory=dict)
    health: tuple[tuple[str, HealthRule], ...] = ()
    confirmed: bool = field(default=False, compare=False)
    late: bool = field(default=False, compare=False)
    hangs: bool = field(default=False, compare=False)

    @property
    def answered(self) -> bool:
        """Whether the entry has been read to the end once, well or not."""
        return self.complete or bool(self.trouble)

    @property
    def doubtful(self) -> bool:
        """Whether it may have been read while its driver was making its files: it is one of our cards, and its name is missing."""
        return self.complete and not self.refusal and bool(self.unnamed) and not self.confirmed

    def read(self, prefix: str) -> None:
        """Read what identifies the card, through the host's root `prefix`. Raises ShortOfResources."""
        self.trouble = self.refusal = self.notice = self.pci_address = ""
        self.function = None
        self.unmarked = False
        try:
            self.folder = resolve(prefix, self.sighting.path)
            if not _is_folder(prefix + self.folder):
                self.trouble = f"{self.sighting.path} leads to {as_text(self.folder)}, which is not there"
                return
            self._find_function(prefix)
            self.refusal = self._refusal(prefix)
            if not self.refusal:
                self._read_values(prefix)
                self.health = tuple((prefix + self._path(prefix, rule.attribute), rule) for rule in self.family.health)
        except OSError as error:
            self.trouble = f"{_shown(error.filename or self.folder, prefix)} cannot be read: {error.strerror}"
            return
        self.complete = True

    def value(self, attribute: str | None) -> str:
        """Return what the attribute said, empty if it was not there."""
        return self.values.get(attribute, "") if attribute else ""

    def _find_function(self, prefix: str) -> None:
        attribute = self.family.identity.pci_address
        if attribute:
            text = self._attribute(prefix, attribute) or ""
            said = f"its {attribute} reads {text!r}"
        else:
            text = as_text(resolve(prefix, f"{self.folder}/device").rpartition("/")[2])
            said = "it has no link to a PCI function"
        address = text.lower()
        if not _ADDRESS.fullmatch(address):
            if self.family.pci is not None:
                self.notice = f"{said}, which is no PCI address, so its place in the machine is unknown"
            return
        self.pci_address = address
        self.function = read_function(prefix, address)
        if self.function is None:
            self.notice = f"{said}, which is not on the PCI bus, so its place in the machine is unknown"

    def _refusal(self, prefix: str) -> str:
        guards = self.family.entries.guards
        for attribute, expected in guards.items():
            text = self._attribute(prefix, attribute)
            if text not in expected:
                self.unmarked = text is None
                said = "is missing" if text is None else f"reads {text!r}"
                return f"its {attribute} {said} and not {' or '.join(map(repr, expected))}"
        # A class folder without marks of its own is shared by drivers of many vendors, so the PCI id must tell.
        if self.family.pci is not None and not guards and not is_of(self.function, self.family):
            return "its PCI function is of another kind"
        return ""

    def _read_values(self, prefix: str) -> None:
        identity = self.family.identity
        naming = list(filter(None, (identity.uuid, identity.serial)))
        said = {attribute: self._attribute(prefix, attribute) for attribute in naming}
        self.unnamed = tuple(attribute for attribute in naming if said[attribute] is None)
        self.values |= {attribute: text or "" for attribute, text in said.items()}
        self.major = self._major(prefix)
        for attribute in filter(None, (identity.firmware, identity.driver, *self.family.labels.values())):
            try:
                self.values[attribute] = self._attribute(prefix, attribute) or ""
            except OSError:  # a card without a readable firmware version is a card all the same
                self.values[attribute] = ""

    def _major(self, prefix: str) -> int:
        try:
            found = _DEVICE_NUMBER.fullmatch(self._attribute(prefix, "dev") or "")
        except OSError:
            return 0
        return int(found[1]) if found else 0

    def _path(self, prefix: str, attribute: str) -> str:
        if attribute.startswith("pci:"):
            folder = self.function.path if self.function else f"{_PCI_DEVICES}/{self.pci_address or 'unknown'}"
            attribute = attribute.removeprefix("pci:")
        else:
            folder = self.folder
        below, _, name = attribute.rpartition("/")
        return f"{resolve(prefix, f'{folder}/{below}') if below else folder}/{name}"

    def _attribute(self, prefix: str, attribute: str) -> str | None:
        try:
            return read_text(prefix + self._path(prefix, attribute))
        except FileNotFoundError:
            return None


class HostView:
    """Sees what is on the host below `host_root`. `look` and `Entry.read` are for one thread at a time."""

    def __init__(self, host_root: Path, families: Mapping[str, Family]) -> None:
        self.prefix = below_root(host_root)
        self._families = families
        self._patterns = {name: matcher(family.entries.entries) for name, family in families.items()}
        self._vendors = {family.pci.vendor for family in families.values() if family.pci}
        self._listed: dict[str, int] = {}
        self._functions: dict[str, PciFunction] = {}
        self._class_entries: dict[str, list[tuple[str, int]]] = {}
        self._known: dict[str, list[tuple[str, str, str]]] = {}

    def look(self) -> tuple[tuple[PciFunction, ...], tuple[Sighting, ...]]:
        """Return the PCI functions of the families' cards, and the entries that the families know by their names.

        Raises OSError if the folders themselves cannot be read.
        """
        self._look_at_functions()
        return tuple(self._functions.values()), tuple(self._sightings())

    def _look_at_functions(self) -> None:
        listed = dict(entries(self.prefix + resolve(self.prefix, _PCI_DEVICES)))
        if listed != self._listed:
            stayed = {name for name, inode in self._listed.items() if listed.get(name) == inode}
            self._functions = {address: function for address, function in self._functions.items() if address in stayed}
            for address in sorted(listed.keys() - stayed):
                if _ADDRESS.fullmatch(address) and (function := self._function(address)):
                    self._functions[address] = function
            self._listed = listed
        for address, function in self._functions.items():
            driver = link_name(f"{self.prefix}{function.path}/driver")
            if driver != function.driver:
                self._functions[address] = replace(function, driver=driver)

    def _function(self, address: str) -> PciFunction | None:
        try:
            function = read_function(self.prefix, address, of_vendors=self._vendors)
        except OSError:  # it went in this moment, or its links lead nowhere; its entry says so if it is a card
            return None
        return function if function and any(is_of(function, family) for family in self._families.values()) else None

    def _sightings(self) -> Sequence[Sighting]:
        seen: list[Sighting] = []
        for folder in dict.fromkeys(f"/sys/class/{family.entries.folder}" for family in self._families.values()):
            listed = entries(self.prefix + resolve(self.prefix, folder))
            if listed != self._class_entries.get(folder):
                self._class_entries[folder] = listed
                self._known[folder] = self._known_entries(folder, sorted(name for name, _ in listed))
            for family, path, index in self._known[folder]:
                try:
                    status = os.lstat(self.prefix + path)
                except FileNotFoundError:  # it went in this moment
                    continue
                except OSError as error:
                    raise_if_short(error)
                    raise
                seen.append(Sighting(family, path, index, (status.st_ino, status.st_ctime_ns)))
        return seen

    def _known_entries(self, folder: str, names: Sequence[str]) -> list[tuple[str, str, str]]:
        """Return family, path and index of those entries that a family knows by their names."""
        return [
            (family, f"{folder}/{name}", found[1])
            for family, pattern in self._patterns.items()
            if f"/sys/class/{self._families[family].entries.folder}" == folder
            for name in names
            if (found := pattern.fullmatch(name))
        ]


def read_function(prefix: str, address: str, *, of_vendors: set[str] | None = None) -> PciFunction | None:
    """Return the PCI function, or None if it is not there or not of one of the vendors. Raises OSError."""
    path = resolve(prefix, f"{_PCI_DEVICES}/{address}")
    try:
        # The kernel's PCI core answers these from memory and no driver is asked, so they need no thread of their own.
        vendor = read_text(f"{prefix}{path}/vendor", wait=False)
        if of_vendors is not None and vendor not in of_vendors:
            return None
        device = read_text(f"{prefix}{path}/device", wait=False)
    except FileNotFoundError:
        return None
    return PciFunction(address, vendor, device, path, _numa_node(f"{prefix}{path}/numa_node"), link_name(f"{prefix}{path}/driver"))


def is_of(function: PciFunction | None, family: Family) -> bool:
    """Whether the PCI id of the function is one of the family's."""
    pci = family.pci
    return function is not None and pci is not None and function.vendor == pci.vendor and function.device in pci.devices


def _numa_node(path: str) -> int | None:
    try:
        text = read_text(path, wait=False)
    except OSError:
        return None
    # The kernel writes -1 where the firmware does not tell it.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= _MAX_NUMA_NODE else None


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
