"""From what sysfs shows to accelerators: which entry and which PCI function are one card, where it sits, what it is called."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from npu_agent.backends.sysfs.entry import Entry
from npu_agent.backends.sysfs.functions import PciFunction, has_own_driver, is_of
from npu_agent.backends.sysfs.parts import parts_of
from npu_agent.core.accelerator import Accelerator
from npu_agent.core.identity import as_device_id, hashed, stable_id
from npu_agent.core.model_line import NO_PRODUCT, ModelLine
from npu_agent.families.family import Family
from npu_agent.families.finding import Model
from npu_agent.host.files import as_text

BACKEND = "sysfs"

_PCI_ROOT = re.compile(r"pci[0-9a-f]{4,8}:[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Card:
    """An accelerator and the entry that it was read from, None for one that its driver does not show."""

    accelerator: Accelerator
    entry: Entry | None = None


def cards(entries: Sequence[Entry], functions: Sequence[PciFunction], families: Mapping[str, Family], contested: set[str]) -> list[Card]:
    """Return the cards, each with an id of its own.

    An entry is a card of the first family that does not refuse it. A PCI function of a family that no entry claims is a card that
    containers cannot be given. `contested` holds ids that several cards have claimed: it grows here, and whoever claims one of them
    never gets it, so that no card takes the place of another when one of them leaves.
    """
    taken = list(_shown_once([entry for entry in entries if not entry.refusal]))
    described: dict[str, list[Entry]] = {}
    for entry in taken:
        described.setdefault(entry.sighting.path, []).append(entry)
    found = [_of_entry(first, others) for first, *others in described.values()]
    claimed = {entry.pci_address for entry in taken}
    for function in functions:
        if function.address not in claimed:
            family = next(family for family in families.values() if is_of(function, family))
            if family.pci is None or family.pci.linked or not has_own_driver(function, family):
                found.append(_of_function(function, family, _refusal(function, entries)))
    return list(_with_own_ids(found, contested))


def location(function: PciFunction) -> tuple[str, ...]:
    """Return where a PCI function sits: NUMA node if known, host bridge, the bridges on the way, the function itself."""
    parts = function.path.split("/")
    roots = [index for index, part in enumerate(parts) if _PCI_ROOT.fullmatch(part)]
    way = tuple(map(as_text, parts[roots[0] :])) if roots and parts[-1] == function.address else (function.address,)
    return way if function.numa_node is None else (f"numa{function.numa_node}", *way)


def unbound_reason(function: PciFunction, family: Family, refusal: str = "") -> str:
    """Return why containers cannot be given a card that its driver does not show, and what to do."""
    own = family.pci.driver if family.pci else ""
    address, driver = function.address, function.driver
    if not driver:
        load = f"load {own}" if own else "load its driver"
        return f"no driver is bound to {address}; {load}, and see the kernel's log if it refuses the card"
    if driver.startswith("vfio"):
        return (
            f"{address} is bound to {driver}, so it is kept for virtual machines; bind it to {own or 'its driver'} to give it to containers"
        )
    if own and driver != own:
        return f"{address} is bound to {driver}; bind it to {own} to give it to containers"
    folders = " and ".join(dict.fromkeys(shows.path for shows in family.entries))
    if not folders:
        return f"{address} is bound to {driver}, but it is not taken: {refusal}" if refusal else f"{address} is not read yet"
    shows = f"but its entry in {folders} is not taken: {refusal}" if refusal else f"but {folders} has no entry for it; see the kernel's log"
    return f"{address} is bound to {driver}, {shows}"


def _shown_once(entries: Sequence[Entry]) -> Iterator[Entry]:
    """Yield the entries without those of cards that an earlier class of the same family shows too."""
    first: dict[tuple[str, str], int] = {}
    for entry in entries:
        key = (entry.sighting.family, entry.pci_address)
        first[key] = min(first.get(key, entry.sighting.position), entry.sighting.position)
    for entry in entries:
        if not entry.pci_address or first[entry.sighting.family, entry.pci_address] == entry.sighting.position:
            yield entry


def _of_entry(entry: Entry, others: Sequence[Entry]) -> Card:
    family, sighting, identity = entry.family, entry.sighting, entry.family.identity
    address = entry.pci_address
    name = entry.name or sighting.name
    accelerator = Accelerator(
        id=as_device_id(address or f"{family.name}-{name}"),
        backend=BACKEND,
        family=family.name,
        name=name,
        location=location(entry.function) if entry.function else (address or f"{family.name}-{name}",),
        numa_node=entry.function.numa_node if entry.function else None,
        pci_address=address,
        parts=(),
    )
    if not entry.complete:
        return Card(replace(accelerator, unusable=_unread_reason(entry)), entry)
    if entry.doubtful:
        missing = " and ".join(entry.unnamed)
        text = f"{sighting.path} has no {missing} yet, by which the card is named; if its driver has none, this passes by itself"
        return Card(replace(accelerator, unusable=text), entry)
    if entry.unplaced:
        return Card(replace(accelerator, unusable=f"{sighting.path} cannot be handed out: {entry.unplaced}; see the kernel's log"), entry)
    uuid, serial = entry.value(identity.uuid), entry.value(identity.serial)
    model = entry.model
    labels = [(label, entry.value(attribute)) for label, attribute in family.labels.items()]
    if model is not None:
        labels.insert(0, ("model", model.name))
    notices = [entry.notice] if entry.notice else []
    if family.experimental:
        notices.append(f"the family {family.name} is experimental: {family.experimental}")
    for other in others:
        text = f"the families {family.name} and {other.family.name} both describe it, and it is taken for {family.name}"
        notices.append(f"{text}; leave one out by the option families of the backend {BACKEND}")
    told = replace(accelerator, uuid=uuid, serial=serial)
    return Card(
        replace(
            told,
            id=stable_id(uuid=uuid, serial=serial, pci_address=address) if uuid or serial else accelerator.id,
            firmware=entry.value(identity.firmware),
            driver=entry.value(identity.driver),
            attributes=tuple((label, value) for label, value in labels if value),
            notices=tuple(notices),
            parts=parts_of(told, family, entry),
            model_line=model_line_of(family, model),
        ),
        entry,
    )


def model_line_of(family: Family, model: Model | None = None) -> ModelLine:
    """Return what is said of all cards of the family, or of the model of it."""
    product = family.product if model is None or model.product == NO_PRODUCT else model.product
    return ModelLine(product, tuple(family.node_labels))


def _unread_reason(entry: Entry) -> str:
    if entry.trouble:
        return f"{entry.trouble}; see the kernel's log"
    if entry.hangs:
        return f"{entry.sighting.path} is not read yet: the card or its driver hangs, or is still starting; see the kernel's log"
    return f"{entry.sighting.path} is not read yet: others are read before it"


def _of_function(function: PciFunction, family: Family, refusal: str) -> Card:
    model = next((model.name for model in family.models if function.device in model.devices), "")
    return Card(
        Accelerator(
            id=as_device_id(function.address),
            backend=BACKEND,
            family=family.name,
            location=location(function),
            numa_node=function.numa_node,
            pci_address=function.address,
            unusable=unbound_reason(function, family, refusal),
            attributes=(("model", model),) if model else (),
            parts=(),
        )
    )


def _refusal(function: PciFunction, entries: Iterable[Entry]) -> str:
    refused = (entry for entry in entries if entry.refusal and entry.pci_address == function.address)
    return next((f"{entry.sighting.name}: {entry.refusal}" for entry in refused), "")


def _with_own_ids(found: Sequence[Card], contested: set[str]) -> Iterator[Card]:
    claims = Counter(card.accelerator.id for card in found)
    contested.update(id for id, count in claims.items() if count > 1)
    taken: set[str] = set()
    for card in found:
        accelerator = card.accelerator
        if accelerator.id in contested or accelerator.id in taken:
            accelerator = _renamed(accelerator, lambda id: id in taken or id in claims)
        taken.add(accelerator.id)
        yield replace(card, accelerator=accelerator)


def _renamed(accelerator: Accelerator, is_taken: Callable[[str], bool]) -> Accelerator:
    claim, name = accelerator.id, f"{accelerator.family}-{accelerator.name}"
    address = accelerator.pci_address.replace(":", "-")
    candidates = (f"{claim}_{address or name}", f"{claim}_{address}_{name}")
    own = next((id for text in candidates if not is_taken(id := as_device_id(text))), hashed(candidates[-1]))
    notice = f"several cards claim the id {claim}, so this one is {own}; ask the vendor for cards with uuids of their own"
    return replace(accelerator, id=own, notices=(*accelerator.notices, notice))
