"""Accelerators as sysfs shows them: an interpreter of family descriptions (`family`), which are data and not code."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anyio

from npu_agent.backends.base import Backend
from npu_agent.backends.bounded import Readers, ReadHangs
from npu_agent.backends.family import HealthRule, Node, fill, matcher
from npu_agent.backends.host_files import read_text
from npu_agent.backends.sysfs_discovery import BACKEND, NOTICE, Card, cards
from npu_agent.backends.sysfs_options import families_of
from npu_agent.backends.sysfs_view import Entry, HostView, PciFunction, Sighting
from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Mount, Reading

SCAN_PATIENCE_S = 1.0
"""How long a scan waits for cards that it has not read yet. It waits once: one that needs longer is found by a later scan."""

HEALTHY = Reading(healthy=True)

log = logging.getLogger(__name__)


class SysfsBackend(Backend):
    """The backend `sysfs`: finds the cards of all families that it has a description of."""

    name: ClassVar[str] = BACKEND

    def __init__(self, options: Mapping[str, Any], *, host_root: Path) -> None:
        super().__init__(options, host_root=host_root)
        self._families = families_of(options)
        self.partitions = {name: tuple(family.partitions) for name, family in self._families.items()}
        self._view = HostView(host_root, self._families)
        self._readers = Readers()
        self._functions: tuple[PciFunction, ...] = ()
        self._entries: dict[Sighting, Entry] = {}
        self._cards: dict[str, Card] = {}
        self._contested: set[str] = set()
        self._told: set[str] = set()
        self._waiting = False
        """Whether an entry had not been read when the cards were made: its read may come back between two scans."""

    async def __aexit__(self, *exc_info: object) -> None:
        self._readers.close()

    async def scan(self) -> Sequence[Accelerator]:
        functions, sightings = await self._readers.read("/sys", self._view.look, timeout_s=self.probe_timeout_s)
        entries = {sighting: self._entries.get(sighting) or Entry(sighting, self._families[sighting.family]) for sighting in sightings}
        unread = [entry for entry in entries.values() if not entry.complete]
        if unread:
            async with anyio.create_task_group() as tasks:
                for entry in unread:
                    tasks.start_soon(self._read, entry)
        if self._waiting or unread or functions != self._functions or entries.keys() != self._entries.keys():
            self._functions, self._entries = functions, entries
            self._waiting = not all(entry.complete for entry in unread)
            found = cards(list(entries.values()), functions, self._families, self._contested)
            self._cards = {card.accelerator.id: card for card in found}
            self._tell()
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

    def container_edits(self, accelerator: Accelerator, partition: str = "") -> ContainerEdits:
        family = self._families[accelerator.family]
        named = matcher(family.entries.name).fullmatch(accelerator.name)
        if named is None:  # a card without its driver has no name, and nothing that a container could use
            return ContainerEdits()
        index = named[1]
        values = {
            "index": index,
            "part": partition,
            "pci_address": accelerator.pci_address,
            "serial": accelerator.serial,
            "uuid": accelerator.uuid,
        }
        chosen = next((parts[partition] for parts in family.partitions.values() if partition in parts), None)
        return ContainerEdits(
            tuple(made for node in family.nodes for made in _device_nodes(node, index, chosen)),
            tuple(
                Mount(fill(mount.host_path, values), fill(mount.container_path or mount.host_path, values), mount.read_only)
                for mount in family.mounts
            ),
            tuple((name, fill(value, values)) for name, value in family.environment.items()),
        )

    def partition_names(self, accelerator: Accelerator, kind: str) -> Sequence[str]:
        return tuple(self._families[accelerator.family].partitions.get(kind, ()))

    async def _read(self, entry: Entry) -> None:
        prefix = self._view.prefix
        try:
            await self._readers.read(_key(entry.sighting), lambda: entry.read(prefix), timeout_s=SCAN_PATIENCE_S)
        except ReadHangs:
            return  # it stays incomplete, which makes it a card that containers cannot be given, and is looked at again in the next scan

    def _tell(self) -> None:
        """Log what there is to say of cards, each thing once for as long as it lasts."""
        now: dict[str, int] = {}
        for card in self._cards.values():
            accelerator = card.accelerator
            if accelerator.unusable:  # often on purpose, and `npu-agent list` shows it
                now[f"{accelerator.id} ({accelerator.family}): {accelerator.unusable}"] = logging.INFO
            for key, text in accelerator.attributes:
                if key == NOTICE:
                    now[f"{accelerator.id} ({accelerator.family}): {text}"] = logging.WARNING
        for text in now.keys() - self._told:
            log.log(now[text], "%s", text)
        self._told = set(now)


def read_health(entry: Entry, prefix: str) -> Reading:
    """Return what the family's rules make of the card now. It is for a thread: a read of a dying card can hang."""
    bad = [wrong for path, rule in entry.health if (wrong := _wrong(path, rule))]
    if (bad or not entry.health) and not Path(prefix + entry.folder).is_dir():
        return Reading(False, f"{entry.sighting.path} is not there any more: the card has left the bus or its driver was removed")
    return Reading(False, "; ".join(bad)) if bad else HEALTHY


def _wrong(path: str, rule: HealthRule) -> str:
    try:
        text = read_text(path)
    except FileNotFoundError:
        return "" if rule.missing == "healthy" else f"{rule.attribute} is missing"
    except OSError as error:
        return f"{rule.attribute} cannot be read: {error.strerror}"
    return "" if text in rule.healthy else f"{rule.attribute} reads {text!r}, and healthy is {' or '.join(map(repr, rule.healthy))}"


def _device_nodes(node: Node, index: str, chosen: Sequence[str] | None) -> Sequence[DeviceNode]:
    """Return the nodes that `node` stands for; `chosen` are the values of `each` that a part names, None for the whole card."""
    each: Sequence[str] = node.each or ("",)
    if chosen is not None and node.divided:
        each = [value for value in node.each if value in chosen]
    container_path = node.container_path or node.path
    return [
        DeviceNode(
            fill(node.path, {"index": index, "each": value}),
            fill(container_path, {"index": index, "each": value}),
            node.permissions,
            node.required,
        )
        for value in each
    ]


def _key(sighting: Sighting) -> str:
    return f"{sighting.family} {sighting.path}"
