"""Accelerators as sysfs shows them: an interpreter of family descriptions (`family`), which are data and not code."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import monotonic as clock
from typing import Any, ClassVar

import anyio

from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError
from npu_agent.backends.sysfs.discovery import BACKEND, Card, cards
from npu_agent.backends.sysfs.entry import Entry, Sighting
from npu_agent.backends.sysfs.functions import PciFunction
from npu_agent.backends.sysfs.health import HEALTHY
from npu_agent.backends.sysfs.options import families_of
from npu_agent.backends.sysfs.view import HostView
from npu_agent.core.accelerator import Accelerator, Reading
from npu_agent.flow.current import Current
from npu_agent.host.bounded import Readers, ReadHangs
from npu_agent.host.errors import ShortOfResources
from npu_agent.host.files import is_there

SCAN_PATIENCE_S = 0.2
"""How long a scan waits for a card that it has not read yet, from the beginning of that card's own read."""

SCAN_WITHIN_S = 1.0
"""How long a scan waits for all of them together. Whatever is read later is hinted at, and found by the scan that follows."""

SECOND_LOOK_S = 0.2
"""After what time a card without the attributes that name it is read again: its driver may just be making them."""


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
        self._came_late = Current(0)

    async def __aexit__(self, *exc_info: object) -> None:
        self._readers.close()

    async def scan(self) -> Sequence[Accelerator]:
        try:
            functions, sightings = await self._readers.read("/sys", self._view.look, timeout_s=self.probe_timeout_s)
        except ReadHangs as error:
            raise BackendError(f"/sys does not answer: {error}; see the kernel's log") from error
        unsettled = [sighting for sighting in sightings if sighting not in self._settled]
        if unsettled:
            await self._identify_all(unsettled)
            if doubtful := [sighting for sighting in unsettled if self._entries[sighting].doubtful]:
                await anyio.sleep(SECOND_LOOK_S)
                await self._identify_all(doubtful)
        if unsettled or functions != self._functions or len(sightings) != len(self._entries):
            self._functions = functions
            self._entries = {sighting: self._entries[sighting] for sighting in sightings}
            self._settled.intersection_update(sightings)
            found = cards(list(self._entries.values()), functions, self._families, self._contested)
            self._cards = {card.accelerator.id: card for card in found}
        return [_with_warnings(card) for card in self._cards.values()]

    async def probe(self, accelerator: Accelerator) -> Reading:
        card = self._cards.get(accelerator.id)
        if card is None:
            return Reading(False, f"{accelerator.name or accelerator.id} is not there any more")
        entry = card.entry
        if entry is None or not entry.complete:
            return Reading(False, card.accelerator.unusable)
        try:
            return await self._readers.read(
                _key(entry.sighting), lambda: read_health(entry, self._view.prefix, clock()), timeout_s=self.probe_timeout_s
            )
        except ReadHangs:
            # How long it has been away grows with each probe and would make each of them news; since when is told with the health.
            return Reading(
                False,
                f"a read of {entry.sighting.path} has not come back for {self.probe_timeout_s:.1f} s:"
                " the card or its driver hangs; see the kernel's log, and reset the card or restart the node",
            )

    async def hints(self) -> AsyncIterator[None]:
        seen = self._came_late.value
        async for count in self._came_late.follow():
            if count != seen:
                seen = count
                yield

    async def _identify_all(self, sightings: Sequence[Sighting]) -> None:
        """Read what the entries say of their cards, as far as they do so in time. Raises ShortOfResources if any could not be read."""
        shortages: list[ShortOfResources] = []
        with anyio.move_on_after(SCAN_WITHIN_S):
            async with anyio.create_task_group() as tasks:
                for sighting in sightings:
                    tasks.start_soon(self._identify, sighting, shortages)
        if shortages:
            raise shortages[0]

    async def _identify(self, sighting: Sighting, shortages: list[ShortOfResources]) -> None:
        """Read what the entry says of its card.

        A driver adds the files of an entry one after another, so a first read can see half of them and is believed for good only
        when another one says the same.
        """
        known = self._entries.get(sighting)
        entry = known if known is not None and not known.complete else Entry(sighting, self._families[sighting.family])
        if known is None:
            self._entries[sighting] = entry
        is_awaited = self._entries[sighting] is entry and not entry.answered
        entry.late = False
        loop = asyncio.get_running_loop()
        try:
            await self._readers.read(_key(sighting), lambda: self._read(entry, loop), timeout_s=SCAN_PATIENCE_S)
        except ReadHangs:
            entry.hangs = True
            return
        except ShortOfResources as shortage:
            shortages.append(shortage)
            return
        finally:
            if is_awaited and not entry.answered:
                self._leave(entry)
        if known is None or entry is known:
            return
        if entry == known:
            known.confirmed = True
            if not known.unmarked and not known.unplaced:
                self._settled.add(sighting)
        elif entry.complete:
            self._entries[sighting] = entry

    def _read(self, entry: Entry, loop: asyncio.AbstractEventLoop) -> None:
        """Read the entry, in a thread, unless an earlier read that nobody waited for any more has come to its end meanwhile."""
        if not entry.complete:
            entry.read(self._view.prefix)
        if entry.late:
            with contextlib.suppress(RuntimeError):  # the loop has been closed while the read was away
                loop.call_soon_threadsafe(self._tell_late)

    def _leave(self, entry: Entry) -> None:
        """Have it hinted at when the read of the entry comes back."""
        entry.late = True
        if entry.answered:  # in this moment, in its thread
            self._tell_late()

    def _tell_late(self) -> None:
        self._came_late.set(self._came_late.value + 1)


def read_health(entry: Entry, prefix: str, now: float) -> Reading:
    """Return what the family's rules make of the card at `now`, in seconds of a clock that only goes on, and note their warnings.

    It is for a thread: a read of a dying card can hang.
    """
    bad: list[str] = []
    warnings: list[str] = []
    for judge in entry.health:
        if wrong := judge.wrong(now):
            (warnings if judge.rule.warn else bad).append(wrong)
    entry.warnings = tuple(warnings)
    # Where no rule misses the entry itself, it may be what is missing.
    if (bad or not any(judge.needs_entry for judge in entry.health)) and not is_there(prefix + entry.stands_for):
        return Reading(False, f"{entry.sighting.path} is not there any more: the card has left the bus or its driver was removed")
    # A virtual class device can outlive its card, and its driver then tells what it remembers.
    if entry.function is not None and not is_there(prefix + entry.function.path):
        return Reading(
            False, f"{entry.function.address} is not on the PCI bus any more; see the kernel's log, and reseat or reset the card"
        )
    return Reading(False, "; ".join(bad)) if bad else HEALTHY


def _with_warnings(card: Card) -> Accelerator:
    warnings = card.entry.warnings if card.entry else ()
    return replace(card.accelerator, notices=(*card.accelerator.notices, *warnings)) if warnings else card.accelerator


def _key(sighting: Sighting) -> str:
    return f"{sighting.family} {sighting.path}"
