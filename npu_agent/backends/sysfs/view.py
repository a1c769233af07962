"""What the host shows of accelerators: PCI functions and entries of class folders, read no more often than they change.

All of it runs in threads of `bounded.Readers`, since a read is a call into a driver.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from npu_agent.backends.sysfs.entry import Sighting
from npu_agent.backends.sysfs.functions import ADDRESS, PCI_DEVICES, PciFunction, has_own_driver, is_of, read_function
from npu_agent.families.family import Family
from npu_agent.families.texts import matcher
from npu_agent.host.files import below_root, entries, link_name, raise_if_short, resolve


class HostView:
    """Sees what is on the host below `host_root`. `look` and `Entry.read` are for one thread at a time."""

    def __init__(self, host_root: Path, families: Mapping[str, Family]) -> None:
        self.prefix = below_root(host_root)
        self._families = families
        self._shows = [(name, position, shows) for name, family in families.items() for position, shows in enumerate(family.entries)]
        self._patterns = [matcher(shows.entries) for _, _, shows in self._shows]
        self._vendors = {family.pci.vendor for family in families.values() if family.pci}
        self._listed: dict[str, int] = {}
        self._functions: dict[str, PciFunction] = {}
        self._class_entries: dict[str, list[tuple[str, int]]] = {}
        self._known: dict[str, list[tuple[str, str, str, int]]] = {}

    def look(self) -> tuple[tuple[PciFunction, ...], tuple[Sighting, ...]]:
        """Return the PCI functions of the families' cards, and the entries that the families know by their names.

        Raises OSError if the folders themselves cannot be read.
        """
        self._look_at_functions()
        return tuple(self._functions.values()), tuple(self._sightings())

    def _look_at_functions(self) -> None:
        listed = dict(entries(self.prefix + resolve(self.prefix, PCI_DEVICES)))
        if listed != self._listed:
            stayed = {name for name, inode in self._listed.items() if listed.get(name) == inode}
            self._functions = {address: function for address, function in self._functions.items() if address in stayed}
            for address in sorted(listed.keys() - stayed):
                if ADDRESS.fullmatch(address) and (function := self._function(address)):
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
        for folder in dict.fromkeys(shows.path for _, _, shows in self._shows):
            listed = entries(self.prefix + resolve(self.prefix, folder))
            if listed != self._class_entries.get(folder):
                self._class_entries[folder] = listed
                self._known[folder] = self._known_entries(folder, sorted(name for name, _ in listed))
            for family, path, index, position in self._known[folder]:
                if identity := self._identity(path):
                    seen.append(Sighting(family, path, index, identity, position))
        return [*seen, *self._function_sightings()]

    def _function_sightings(self) -> Iterator[Sighting]:
        """Yield the PCI functions that are cards themselves: those with their driver, of families without a class."""
        for name, family in self._families.items():
            if family.entries:
                continue
            for function in self._functions.values():
                # The link to the driver is a new one each time that the function is bound.
                if is_of(function, family) and has_own_driver(function, family) and (found := self._identity(f"{function.path}/driver")):
                    yield Sighting(name, f"{PCI_DEVICES}/{function.address}", "", found, -1)

    def _identity(self, path: str) -> tuple[int, int] | None:
        try:
            status = os.lstat(self.prefix + path)
        except FileNotFoundError:  # it went in this moment
            return None
        except OSError as error:
            raise_if_short(error)
            raise
        return status.st_ino, status.st_ctime_ns

    def _known_entries(self, folder: str, names: Sequence[str]) -> list[tuple[str, str, str, int]]:
        """Return family, path, index and position of the class of those entries that a family knows by their names."""
        return [
            (family, f"{folder}/{name}", found[1], position)
            for (family, position, shows), pattern in zip(self._shows, self._patterns, strict=True)
            if shows.path == folder
            for name in names
            if (found := pattern.fullmatch(name))
        ]
