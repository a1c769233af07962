"""Which hardware is which: the cards that a scan found, called by the ids under which they are known already.

A backend proposes an id out of the texts that it read (uuid, serial, PCI address). Those texts appear late, change, are shared by
twins, and move. So a card that is known keeps its id for as long as anybody may hold it, and a newcomer that may be a card that
cannot be seen now is marked as such. The model is told in docs/decisions/0010-identity.md.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from npu_agent.core.accelerator import Accelerator
from npu_agent.core.allocations import Allocation
from npu_agent.core.identity import as_device_id, hashed, ids_of
from npu_agent.core.inventory import Inventory


@dataclass(frozen=True, slots=True)
class Hardware:
    """A card that is known: the id that it has, the one that its backend proposed, and what could be read of it when it was last seen."""

    id: str
    proposed: str
    backend: str
    family: str
    name: str
    uuid: str
    serial: str
    pci_address: str


@dataclass(frozen=True, slots=True)
class Named:
    """The accelerators with their ids. `doubts` has for newcomers the ids of absent cards that they may be."""

    accelerators: tuple[Accelerator, ...]
    doubts: Mapping[str, frozenset[str]]


def one_of_each(backends: Iterable[Sequence[Accelerator]]) -> list[Accelerator]:
    """Return the cards that the backends found, each once.

    Backends see one card where they give it one PCI address or one id. The first of them that can use it has it, else the first.
    """
    chosen: list[Accelerator] = []
    at_address: dict[str, int] = {}
    at_id: dict[str, int] = {}
    for cards in backends:
        own: list[Accelerator] = []
        for card in cards:
            index = at_address.get(card.pci_address, at_id.get(card.id)) if card.pci_address else at_id.get(card.id)
            if index is None:
                own.append(card)
            elif chosen[index].unusable and not card.unusable:
                chosen[index] = card
        for index, card in enumerate(own, len(chosen)):
            at_id[card.id] = index
            if card.pci_address:
                at_address.setdefault(card.pci_address, index)
        chosen += own
    return chosen


def known_hardware(
    inventory: Inventory, allocations: Iterable[Allocation], proposed: Mapping[str, Accelerator] | None = None
) -> list[Hardware]:
    """Return the cards that were offered already, as they were last seen, then those that only an allocation remembers.

    `proposed` has by id the card as its backend returned it, where that is known.
    """
    own = {id: card.id for id, card in (proposed or {}).items()}
    remembered = {held.accelerator_id: held for held in allocations if held.accelerator_id}
    known = [
        _hardware(tracked.accelerator, own, remembered.get(id)) for id, tracked in inventory.items() if not tracked.accelerator.unusable
    ]
    ids = {hardware.id for hardware in known}
    for id, held in remembered.items():
        if id not in ids:
            known.append(Hardware(id, own.get(id, id), held.backend, held.family, held.name, held.uuid, held.serial, held.pci_address))
    return known


def _hardware(card: Accelerator, own: Mapping[str, str], held: Allocation | None) -> Hardware:
    """Return the card as it was last seen; what could not be read of it then is as it is remembered with what is held."""
    uuid, serial = card.uuid or (held.uuid if held else ""), card.serial or (held.serial if held else "")
    return Hardware(card.id, own.get(card.id, card.id), card.backend, card.family, card.name, uuid, serial, card.pci_address)


def named(found: Sequence[Accelerator], known: Sequence[Hardware], held_ids: Iterable[str] = ()) -> Named:
    """Return `found` with ids that no two share and that stay with the hardware.

    `held_ids` are ids of devices that kubelet says are held and that no hardware is known for: a card that may have been called so
    is called so again, if it is the only one.
    """
    ids: dict[int, str] = {}
    absent = list(known)
    absent = _matched(found, ids, absent, _agree)
    for key in (_by_uuid, _by_serial):
        absent = _matched_alone(found, ids, absent, key)
    _as_held(found, ids, known, held_ids)
    # An id of a card that cannot be seen now stays its own.
    taken = set(ids.values()) | {hardware.id for hardware in absent}
    reserved = taken | {card.id for index, card in enumerate(found) if index not in ids}
    doubts: dict[str, frozenset[str]] = {}
    accelerators: list[Accelerator] = []
    for index, card in enumerate(found):
        id = ids.get(index)
        if id is None:
            id = card.id if card.id not in taken else _other_id(card, reserved | taken)
            taken.add(id)
            maybe = frozenset(hardware.id for hardware in absent if _may_be(card, hardware))
            if maybe:
                doubts[id] = maybe
        accelerators.append(card if id == card.id else replace(card, id=id))
    return Named(tuple(accelerators), doubts)


def _matched(
    found: Sequence[Accelerator], ids: dict[int, str], known: Sequence[Hardware], same: Callable[[Accelerator, Hardware], bool]
) -> list[Hardware]:
    """Give each card that is where a known one was, and says nothing else of itself, that one's id; return who was not found."""
    at_place: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for index, card in enumerate(found):
        at_place[_place(card)].append(index)
    used = set(ids.values())
    # Several cards in one place are first told apart by what their backend calls them.
    for is_called_so in (True, False):
        for hardware in known:
            candidates = [one for one in at_place.get(_place(hardware), ()) if one not in ids and same(found[one], hardware)]
            place = next((one for one in candidates if not is_called_so or found[one].id == hardware.proposed), None)
            if place is not None and hardware.id not in used:
                ids[place] = hardware.id
                used.add(hardware.id)
    return [hardware for hardware in known if hardware.id not in used]


def _place(one: Accelerator | Hardware) -> tuple[str, ...]:
    """Return where a card is: its PCI address, else its driver's name of it, else what its backend calls it."""
    if one.pci_address:
        return (one.pci_address,)
    if one.name:
        return (one.backend, one.family, one.name)
    return (one.backend, one.family, "", one.proposed if isinstance(one, Hardware) else one.id)


def _matched_alone(
    found: Sequence[Accelerator], ids: dict[int, str], known: Sequence[Hardware], key: Callable[[Accelerator | Hardware], str]
) -> list[Hardware]:
    """Give a card that moved its id, where it is the only one that says of itself what the known one said."""
    cards: dict[str, list[int]] = defaultdict(list)
    for index, card in enumerate(found):
        if index not in ids and key(card):
            cards[key(card)].append(index)
    wanted: dict[str, list[Hardware]] = defaultdict(list)
    for hardware in known:
        wanted[key(hardware)].append(hardware)
    matched: set[str] = set()
    for text, indices in cards.items():
        if len(indices) == 1 and len(wanted[text]) == 1:
            ids[indices[0]] = wanted[text][0].id
            matched.add(wanted[text][0].id)
    return [hardware for hardware in known if hardware.id not in matched]


def _as_held(found: Sequence[Accelerator], ids: dict[int, str], known: Sequence[Hardware], held_ids: Iterable[str]) -> None:
    wanted = set(held_ids)
    if not wanted:
        return
    used = set(ids.values()) | {hardware.id for hardware in known}
    claims: dict[str, list[int]] = defaultdict(list)
    for index, card in enumerate(found):
        if index not in ids and not card.unusable:
            for id in ids_of(card):
                claims[id].append(index)
    for id, indices in claims.items():
        if id not in used and len(indices) == 1 and indices[0] not in ids and any(one == id or one.startswith(f"{id}_") for one in wanted):
            ids[indices[0]] = id
            used.add(id)


def _agree(card: Accelerator, hardware: Hardware) -> bool:
    # A text that was empty says nothing: it may have come late.
    return all(
        not mine or not known or mine.casefold() == known.casefold()
        for mine, known in ((card.uuid, hardware.uuid), (card.serial, hardware.serial))
    )


def _by_uuid(one: Accelerator | Hardware) -> str:
    return one.uuid.casefold()


def _by_serial(one: Accelerator | Hardware) -> str:
    return one.serial.casefold()


def _may_be(card: Accelerator, hardware: Hardware) -> bool:
    return (
        (bool(card.uuid) and _by_uuid(card) == _by_uuid(hardware))
        or (bool(card.serial) and _by_serial(card) == _by_serial(hardware))
        or (bool(card.pci_address) and card.pci_address == hardware.pci_address)
    )


def _other_id(card: Accelerator, others: Set[str]) -> str:
    address = card.pci_address.replace(":", "-")
    candidates = (f"{card.id}_{address or card.name}", f"{card.id}_{address}_{card.family}-{card.name}")
    return next((id for text in candidates if (id := as_device_id(text)) not in others), hashed(candidates[-1]))
