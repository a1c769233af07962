"""Accelerators as sysfs shows them: an interpreter of family descriptions (`family`), which are data and not code."""

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anyio

from npu_agent.backends.base import Backend
from npu_agent.backends.sysfs.discovery import BACKEND, Card, cards
from npu_agent.backends.sysfs.options import families_of
from npu_agent.backends.sysfs.view import Entry, HostView, PciFunction, Sighting
from npu_agent.core.accelerator import Accelerator, Reading
from npu_agent.families.family import HealthRule
from npu_agent.host.bounded import Readers, ReadHangs
from npu_agent.host.files import read_text

SCAN_PATIENCE_S = 1.0
"""How long a scan waits for cards that it has not read yet. It waits once: one that needs longer is found by a later scan."""

HEALTHY = Reading(healthy=True)


class SysfsBackend(Backend):
    """The backend `sysfs`: finds the cards of all families that it has a description of."""

    name: ClassVar[str] = BACKEND

    def __init__(self, options: Mapping[str, Any], *, host_root: Path, probe_timeout_s: float = 2.0) -> None:
        super().__init__(options, host_root=host_root, probe_timeout_s=probe_timeout_s)
        self._families = families_of(options)
        self.partitions = {name: tuple(family.partitions) for name, family in self._families.items()}
        self._view = HostView(host_root, self._families)
        self._readers = Readers()
        self._functions: tuple[PciFunction, ...] = ()
        self._entries: dict[Sighting, Entry] = {}
        self._settled: set[Sighting] = set()
        """Entries that need not be read again: they said the same twice."""
        self._cards: dict[str, Card] = {}
        self._contested: set[str] = set()

    async def __aexit__(self, *exc_info: object) -> None:
        self._readers.close()

    async def scan(self) -> Sequence[Accelerator]:
        functions, sightings = await self._readers.read("/sys", self._view.look, timeout_s=self.probe_timeout_s)
        unsettled = [sighting for sighting in sightings if sighting not in self._settled]
        if unsettled:
            async with anyio.create_task_group() as tasks:
                for sighting in unsettled:
                    tasks.start_soon(self._identify, sighting)
        if unsettled or functions != self._functions or len(sightings) != len(self._entries):
            self._functions = functions
            self._entries = {sighting: self._entries[sighting] for sighting in sightings}
            self._settled.intersection_update(sightings)
            found = cards(list(self._entries.values()), functions, self._families, self._contested)
            self._cards = {card.accelerator.id: card for card in found}
        return [card.accelerator for card in self._cards.values()]

    async def probe(self, accelerator: Accelerator) -> Reading:
        card = self._cards.get(accelerator.id)
        if card is None:
            return Reading(False, f"{accelerator.name or accelerator.id} is not there any more")
        entry = card.entry
        if entry is None or not entry.complete:
            return Reading(False, card.accelerator.unusable)
        try:
            return await self._readers.read(
                _key(entry.sighting), lambda: read_health(entry, self._view.prefix), timeout_s=self.probe_timeout_s
            )
        except ReadHangs:
            # How long it has been away grows with each probe and would make each of them news; since when is told with the health.
            return Reading(
                False,
                f"a read of {entry.sighting.path} has not come back for {self.probe_timeout_s:.1f} s:"
                " the card or its driver hangs; see the kernel's log, and reset the card or restart the node",
            )

    async def _identify(self, sighting: Sighting) -> None:
        """Read what the entry says of its card.

        A driver adds the files of an entry one after another, so a first read can see half of them and is believed for good only
        when the next scan's says the same.
        """
        known = self._entries.get(sighting)
        entry = Entry(sighting, self._families[sighting.family]) if known is None or known.complete else known
        with contextlib.suppress(ReadHangs):  # it is incomplete then, which makes it a card that containers cannot be given
            prefix = self._view.prefix
            await self._readers.read(_key(sighting), lambda: entry.read(prefix), timeout_s=SCAN_PATIENCE_S)
        if known is not None and entry is not known:
            if entry == known:
                self._settled.add(sighting)
            if not entry.complete:
                return
        self._entries[sighting] = entry


def read_health(entry: Entry, prefix: str) -> Reading:
    """Return what the family's rules make of the card now. It is for a thread: a read of a dying card can hang."""
    bad = [wrong for path, rule in entry.health if (wrong := _wrong(path, rule))]
    # Where a rule takes a missing attribute for healthy, the entry itself may be what is missing.
    if (bad or all(rule.missing == "healthy" for _, rule in entry.health)) and _is_gone(prefix + entry.folder):
        return Reading(False, f"{entry.sighting.path} is not there any more: the card has left the bus or its driver was removed")
    # A virtual class device can outlive its card, and its driver then tells what it remembers.
    if entry.function is not None and _is_gone(prefix + entry.function.path):
        return Reading(
            False, f"{entry.function.address} is not on the PCI bus any more; see the kernel's log, and reseat or reset the card"
        )
    return Reading(False, "; ".join(bad)) if bad else HEALTHY


def _is_gone(path: str) -> bool:
    try:
        os.lstat(path)
    except OSError:
        return True
    return False


def _wrong(path: str, rule: HealthRule) -> str:
    try:
        text = read_text(path)
    except FileNotFoundError:
        return "" if rule.missing == "healthy" else f"{rule.attribute} is missing"
    except OSError as error:
        return f"{rule.attribute} cannot be read: {error.strerror}"
    return "" if text in rule.healthy else f"{rule.attribute} reads {text!r}, and healthy is {' or '.join(map(repr, rule.healthy))}"


def _key(sighting: Sighting) -> str:
    return f"{sighting.family} {sighting.path}"
