"""What the options of the fake backend describe: cards with all that a real one has, given in YAML."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from npu_agent.backends.errors import OptionError
from npu_agent.core.accelerator import Accelerator
from npu_agent.core.identity import as_device_id
from npu_agent.core.rules import Check
from npu_agent.schema.fields import read
from npu_agent.schema.mistakes import Mistake, shown

RNGD_PARTITIONS = {"2core": ["pe0-1", "pe2-3", "pe4-5", "pe6-7"], "4core": ["pe0-3", "pe4-7"]}


MAX_CARDS = 10_000
"""Cards in all. A node has some dozens; kubelet takes 4 MiB of devices of one resource."""

MAX_NODES = 100_000
"""Device nodes of all cards, those of each part counted."""


def _id_mistake(text: str) -> str:
    return "" if text and as_device_id(text) == text else f"expected 1 to 63 letters, digits, '.', '_' and '-', got {shown(text)}"


def _node_mistake(nodes: list[str]) -> str:
    for node in nodes:
        path = PurePosixPath(node)
        if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in node:
            return f"expected a path below the folder of device nodes, such as 'rngd/{{name}}mgmt', got {node!r}"
    return ""


def _name_mistake(text: str) -> str:
    is_name = text.isprintable() and "/" not in text and text not in ("", ".", "..")
    return "" if is_name else f"expected a name such as npu0, got {shown(text)}"


def _folder_mistake(text: str) -> str:
    is_folder = PurePosixPath(text).is_absolute() and ".." not in PurePosixPath(text).parts and "\0" not in text
    return "" if is_folder else f"expected the whole path of a folder, such as /run/npu-agent/devices, got {shown(text)}"


_Id = Annotated[str, Check(_id_mistake)]


class Card(msgspec.Struct, kw_only=True, frozen=True):
    """One fake card, or `count` alike ones."""

    count: Annotated[int, Meta(ge=0, le=MAX_CARDS, description="how many such cards there are")] = 1
    id: Annotated[_Id, Meta(description="its id; with `count`, the beginning of the ids (`ID-0`, `ID-1`)")] | None = None
    family: Annotated[str, Meta(description="its model line")] = "rngd"
    name: (
        Annotated[str, Check(_name_mistake), Meta(description="the kernel's name of it; with `count`, the beginning of the names")] | None
    ) = None
    numa_node: Annotated[int, Meta(ge=0, le=1023, description="absent where the host does not know it")] | None = None
    location: Annotated[
        str | list[str], Meta(description="the path down to its slot, such as `numa0/switch1`; its id is the last step")
    ] = ""
    pci_address: str = ""
    uuid: str = ""
    serial: str = ""
    firmware: str = ""
    driver: str = "fake"
    unusable: Annotated[str, Meta(description="why containers cannot be given it, if they cannot")] = ""
    attributes: dict[str, str] = {}
    nodes: Annotated[
        list[str],
        Check(_node_mistake),
        Meta(description="its device nodes; `{name}` stands for its name, and a node with `{part}` is one of each part"),
    ] = msgspec.field(default_factory=lambda: ["{name}"])
    partitions: Annotated[
        dict[str, list[_Id]],
        Meta(description="the names of its parts, for each kind of partition"),
    ] = msgspec.field(default_factory=lambda: dict(RNGD_PARTITIONS))


class Options(msgspec.Struct, kw_only=True, frozen=True):
    """The options of the fake backend."""

    accelerators: Annotated[int, Meta(ge=0, le=MAX_CARDS)] | list[Card] = 2
    device_folder: Annotated[
        str,
        Check(_folder_mistake),
        Meta(description="a folder of the host in which real device nodes are made; without it containers get `/dev/null`"),
    ] = ""
    container_folder: Annotated[str, Check(_folder_mistake), Meta(description="the folder in which containers see the device nodes")] = (
        "/dev/fake"
    )


@dataclass(frozen=True, slots=True)
class FakeCard:
    """A card as described: what it is, the names of its device nodes, and its parts by kind."""

    accelerator: Accelerator
    nodes: tuple[str, ...]
    partitions: Mapping[str, Sequence[str]]

    def nodes_of(self, part: str) -> list[str]:
        """Return the names of the device nodes of `part`, or of the whole card if it is empty."""
        parts = [part] if part else [name for names in self.partitions.values() for name in names]
        nodes: list[str] = []
        for node in self.nodes:
            filled = node.replace("{name}", self.accelerator.name)
            nodes += [filled.replace("{part}", name) for name in parts] if "{part}" in node else [filled]
        return list(dict.fromkeys(nodes))


def parse_options(options: Mapping[str, Any]) -> Options:
    """Return the options. Raises OptionError with every mistake."""
    parsed, mistakes = read(options, Options)
    if parsed is None:
        raise OptionError.of(mistakes)
    return parsed


def described_cards(options: Options) -> dict[str, FakeCard]:
    """Return the cards by id, in the order of their description. Raises OptionError for ids and nodes that are not a card's own."""
    _bounded(options)
    described = [Card(count=options.accelerators)] if isinstance(options.accelerators, int) else options.accelerators
    cards: dict[str, FakeCard] = {}
    places: dict[str, str] = {}
    nodes: dict[str, str] = {}
    mistakes: list[Mistake] = []
    for index, card in enumerate(described):
        place = f"accelerators[{index}]"
        if card.count != 1:
            said = f"belongs to one card, and count is {card.count}; describe the cards one by one"
            mistakes += [Mistake(f"{place}.{field}", said) for field in ("pci_address", "uuid", "serial") if getattr(card, field)]
        for fake in _cards(card, len(cards)):
            accelerator = fake.accelerator
            if accelerator.id in cards:
                said = f"{shown(accelerator.id)} is already the id of {places[accelerator.id]}; each card needs its own"
                mistakes.append(Mistake(f"{place}.id", said))
                continue
            for node in fake.nodes_of(""):
                if node in nodes:
                    said = f"{shown(node)} is already a device node of {nodes[node]}; use {{name}} in it"
                    mistakes.append(Mistake(f"{place}.nodes", said))
                    break
                nodes[node] = place
            cards[accelerator.id] = fake
            places[accelerator.id] = place
    if mistakes:
        raise OptionError.of(list(dict.fromkeys(mistakes)))  # those of `count` alike cards are one
    return cards


def kinds_of_parts(cards: Iterable[FakeCard]) -> dict[str, list[str]]:
    """Return the kinds of partition that each family has, by family."""
    kinds: dict[str, list[str]] = {}
    for card in cards:
        known = kinds.setdefault(card.accelerator.family, [])
        known.extend(kind for kind in card.partitions if kind not in known)
    return kinds


def _bounded(options: Options) -> None:
    if isinstance(options.accelerators, int):
        return
    cards = nodes = 0
    for card in options.accelerators:
        cards += card.count
        nodes += card.count * len(card.nodes) * max(1, sum(map(len, card.partitions.values())))
    if cards > MAX_CARDS or nodes > MAX_NODES:
        said = f"expected at most {MAX_CARDS} cards with at most {MAX_NODES} device nodes of all their parts"
        raise OptionError("accelerators", f"{said}, got {cards} with {nodes}")


def new_card(card_id: str, number: int) -> FakeCard:
    """Return a card with default properties, the `number`th of all. Raises ValueError for an id that is none."""
    if wrong := _id_mistake(card_id):
        raise ValueError(wrong)
    return _card(Card(), card_id, f"npu{number}")


def _cards(card: Card, first: int) -> Iterator[FakeCard]:
    for number in range(card.count):
        card_id, name = f"fake-{first + number}", f"npu{first + number}"
        if card.id is not None:
            card_id = card.id if card.count == 1 else f"{card.id}-{number}"
        if card.name is not None:
            name = card.name if card.count == 1 else f"{card.name}{number}"
        yield _card(card, card_id, name)


def _card(card: Card, card_id: str, name: str) -> FakeCard:
    steps = card.location.split("/") if isinstance(card.location, str) else card.location
    if not any(steps) and card.numa_node is not None:
        steps = [f"numa{card.numa_node}"]
    accelerator = Accelerator(
        id=card_id,
        backend="fake",
        family=card.family,
        name=name,
        location=(*filter(None, steps), card_id),
        numa_node=card.numa_node,
        pci_address=card.pci_address,
        uuid=card.uuid,
        serial=card.serial,
        firmware=card.firmware,
        driver=card.driver,
        unusable=card.unusable,
        attributes=tuple(card.attributes.items()),
    )
    return FakeCard(accelerator, tuple(card.nodes), card.partitions)
