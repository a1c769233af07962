"""From the accelerators of a node to its labels and annotations."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from npu_agent.core.accelerator import Accelerator
from npu_agent.core.inventory import Inventory
from npu_agent.core.model_line import GENERIC, LabelRule, is_label_name
from npu_agent.core.text import natural, printable

PREFIX = "npu-agent.io"
"""The domain of the labels that are the agent's own, where the configuration names no other."""

MOST_LABEL = 63
"""Characters of a label's value (labels.md, "Syntax and character set")."""

MOST_ANNOTATION = 16_384
"""Characters of one annotation. Kubernetes takes 256 KiB of all annotations of an object together."""

VERSION_PARTS = ("major", "minor", "patch", "prerelease", "metadata")

# "2025.1.0+696efad" and "2025.1.0~rc1, 0abcdef": drivers write what semver puts behind "-" and "+" in ways of their own.
_VERSION = re.compile(r"v?([0-9]+)\.([0-9]+)\.([0-9]+)(?:[~-]([0-9A-Za-z.-]+))?(?:(?:\+|,\s*)([0-9A-Za-z.-]+))?")
_NOT_OF_LABELS = re.compile(r"[^A-Za-z0-9_.-]+")


@dataclass(frozen=True, slots=True)
class Description:
    """What a node is to say of itself, by key. `annotations` are what does not fit a label, under the key that it would have had."""

    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


def describe(inventory: Inventory, prefix: str = PREFIX) -> Description:
    """Return what a node with `inventory` is to say; without a card that containers can be given, nothing.

    Health is not told: it changes in seconds, and kubelet's allocatable tells it. A card that vanished is not there.
    """
    cards = [tracked.accelerator for _, tracked in sorted(inventory.items()) if tracked.vanished_at is None]
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    for key, text, values in _statements([card for card in cards if not card.unusable], prefix):
        value = label_value(text)
        if value and len(value) <= MOST_LABEL:
            labels[key] = value
        elif text:
            annotations[key] = printable(", ".join(values) if len(values) > 1 else text, MOST_ANNOTATION)
    return Description(labels, annotations)


def carries_cards(inventory: Inventory) -> bool:
    """Return whether there is a card that containers can be given, or were: one that vanished counts while it is listed."""
    return any(not tracked.accelerator.unusable for tracked in inventory.values())


def label_value(text: str) -> str:
    """Return `text` with only the characters that a label's value may have, however long it is; empty if nothing is left of it.

    What may not be there becomes "-", and what may not be at an end goes.
    """
    return _NOT_OF_LABELS.sub("-", text).strip("-_.")


def version_parts(text: str) -> Mapping[str, str]:
    """Return the parts of a version that there are by their names, and the version without pre-release and metadata as ""."""
    found = _VERSION.fullmatch(text.strip())
    if found is None:
        return {"": text}
    parts = zip(VERSION_PARTS, found.groups(), strict=True)
    return {"": ".".join(found.groups()[:3]), **{name: part for name, part in parts if part is not None}}


def _statements(cards: Sequence[Accelerator], prefix: str) -> Iterator[tuple[str, str, Sequence[str]]]:
    """Yield keys, the text of each and the values that it was made of."""
    if cards:
        yield f"{prefix}/count", str(len(cards)), ()
        families = _distinct(card.family for card in cards)
        yield f"{prefix}/families", "_".join(families), families
    rules: dict[str, LabelRule] = {}
    values: dict[str, list[str]] = {}
    for card in cards:
        for rule in _rules(card):
            for key in rule.keys:
                whole = key if "/" in key else f"{prefix}/{label_value(card.family)}.{key}"
                rules.setdefault(whole, rule)
                values.setdefault(whole, []).extend(_fact(card, rule.fact))
    for key, rule in rules.items():
        distinct = _distinct(values[key])
        if rule.mixed == "sum":
            text = str(sum(int(value) for value in values[key]))
        else:
            text = "_".join(distinct) if rule.mixed == "join" or len(distinct) == 1 else ""
        for part, said in (version_parts(text) if rule.split else {"": text}).items():
            whole = f"{key}.{part}" if part else key
            if is_label_name(whole.rpartition("/")[2]):  # the name of a family may leave too little room
                yield whole, said, distinct


def _rules(card: Accelerator) -> Iterator[LabelRule]:
    yield from card.model_line.labels
    yield from GENERIC
    for name, _ in card.attributes:
        if is_label_name(name):
            yield LabelRule(fact=name, keys=(name,))


def _fact(card: Accelerator, fact: str) -> Sequence[str]:
    """Return what is known of `fact`, nothing where it is not known."""
    product = card.model_line.product
    match fact:
        case "count":
            return ("1",)
        case "family":
            return (card.family,)
        case "product":
            return _known(product.name)
        case "architecture":
            return _known(product.architecture)
        case "memory-gib":
            return _known(product.memory_gib)
        case "cores":
            return _known(product.cores)
        case "driver":
            return _known(card.driver)
        case "firmware":
            return _known(card.firmware)
        case "ids":
            return (card.id,)
        case "numa-nodes":
            return () if card.numa_node is None else (str(card.numa_node),)
        case "partitions":
            return [part.kind for part in card.parts if part.kind]
    return [value for name, value in card.attributes if name == fact and value]


def _known(value: str | int) -> Sequence[str]:
    return (str(value),) if value else ()


def _distinct(values: Iterable[str]) -> Sequence[str]:
    return sorted(set(values), key=natural)
