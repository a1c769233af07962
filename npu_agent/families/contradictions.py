"""What is wrong between the fields of a family that are each right by themselves."""

import re
from collections.abc import Iterator, Mapping, Sequence, Set

from npu_agent.core.model_line import FACTS, NUMBERS
from npu_agent.families.activity import MEASURES
from npu_agent.families.attributes import Source, attribute_mistake, source_of
from npu_agent.families.containers import Node
from npu_agent.families.family import Family
from npu_agent.families.health import HealthRule
from npu_agent.families.texts import CARD, CONTAINER, PLACE, is_name, placeholder_mistake, placeholders
from npu_agent.schema.mistakes import Mistake, below, shown

MAX_NODES = 256
"""Device nodes of one card, those of each `each` counted."""

MAX_PARTS = 256
"""Parts of one card, of all kinds."""

MAX_READ = 256
"""Attributes that are read of one card, those of each section counted by themselves."""

_EACH = re.compile(r"[A-Za-z0-9._-]{0,64}")
_PART_NAME = re.compile(r"[A-Za-z0-9-]{1,32}")
_PLACEHOLDER_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,252}")
_ANNOTATION = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def contradictions(family: Family, wrong: Set[str]) -> Iterator[Mistake]:
    """Yield the mistakes; the sections of `wrong` have mistakes of their own already, and are not believed."""
    if not wrong & {"class", "pci", "index"}:
        yield from _of_finding(family)
    for section, read in _sections_read(family).items():
        if section not in wrong and len(read) > MAX_READ:
            yield Mistake(section, f"expected at most {MAX_READ} attributes, got {len(read)}")
    if "nodes" not in wrong:
        for index, node in enumerate(family.nodes):
            yield from _of_node(f"nodes[{index}]", node, family, wrong)
        if (count := sum(len(node.each) or 1 for node in family.nodes)) > MAX_NODES:
            yield Mistake("nodes", f"expected at most {MAX_NODES} device nodes, got {count}")
        if "partitions" not in wrong:
            yield from _of_partitions(family)
    if "found" not in wrong:
        for name in family.found:
            if not _PLACEHOLDER_NAME.fullmatch(name) or name in (*CONTAINER, "each"):
                yield Mistake(below("found", name), "expected small letters, digits and '_', and no placeholder that there is already")
    if "models" not in wrong:
        yield from _of_models(family)
    if "health" not in wrong:
        for index, rule in enumerate(family.health):
            yield from _of_health(f"health[{index}]", rule)
    if "activity" not in wrong:
        for index, activity in enumerate(family.activity):
            if activity.unit not in (units := MEASURES[activity.measure]):
                yield Mistake(f"activity[{index}].unit", f"{activity.measure} is in {' or '.join(units)}, not {activity.unit}")
    if "labels" not in wrong:
        for label in family.labels:
            if not is_name(label) or label in ("notice", "model"):
                said = "expected small letters, digits, '-' and '.', and not notice or model, which are the agent's own"
                yield Mistake(below("labels", label), said)
    if "node_labels" not in wrong and "labels" not in wrong:
        yield from _of_node_labels(family)
    if "mounts" not in wrong:
        for index, mount in enumerate(family.mounts):
            for text in (mount.host_path, mount.container_path or ""):
                if message := placeholder_mistake(text, _known(family, wrong)):
                    yield Mistake(f"mounts[{index}]", message)
            if "*" in mount.host_path and mount.container_path is not None:
                yield Mistake(f"mounts[{index}].container_path", "what * stands for keeps its place; leave container_path out")
    yield from _of_texts(family, wrong)


def _known(family: Family, wrong: Set[str], *, others: Sequence[str] = CARD) -> tuple[str, ...]:
    return (*others, *(() if "found" in wrong else family.found))


def _of_texts(family: Family, wrong: Set[str]) -> Iterator[Mistake]:
    known = _known(family, wrong, others=CONTAINER)
    for section, pattern, expected in (
        ("environment", _VARIABLE, "the name of a variable: letters, digits and '_'"),
        ("annotations", _ANNOTATION, "the name of an annotation, such as example.com/name"),
    ):
        texts: Mapping[str, str] = {} if section in wrong else getattr(family, section)
        for name, text in texts.items():
            if not pattern.fullmatch(name):
                yield Mistake(below(section, name), f"expected {expected}")
            if message := placeholder_mistake(text, known):
                yield Mistake(below(section, name), message)
    for index, device in enumerate(() if "cdi_devices" in wrong else family.cdi_devices):
        if message := placeholder_mistake(device, known):
            yield Mistake(f"cdi_devices[{index}]", message)


def _of_finding(family: Family) -> Iterator[Mistake]:
    if not family.entries and family.pci is None:
        yield Mistake("class", "is missing, and so is pci; expected one of them, or nothing can be found")
    for index, entries in enumerate(family.entries):
        place = f"class[{index}]" if len(family.entries) > 1 else "class"
        yield from _of_guards(f"{place}.guards", entries.guards)
    if family.pci is None:
        return
    yield from _of_guards("pci.guards", family.pci.guards)
    if family.entries and family.pci.guards:
        yield Mistake("pci.guards", "the family has entries; put the guards into class")
    if not family.entries and family.index is None and "index" in placeholders(family.pci.name):
        yield Mistake("pci.name", "{index} is of no card without class or index; say index, or name the cards by {pci_address}")
    for attribute in source_of(family.index).attribute if family.index is not None else ():
        if message := placeholder_mistake(attribute, PLACE[1:]):
            yield Mistake("index", message)


def _of_guards(place: str, guards: Mapping[str, object]) -> Iterator[Mistake]:
    for attribute in guards:
        if message := attribute_mistake(attribute):
            yield Mistake(below(place, attribute), message)


def _sections_read(family: Family) -> dict[str, Sequence[object]]:
    return {"health": family.health, "labels": tuple(family.labels), "found": tuple(family.found), "activity": family.activity}


def _of_health(place: str, rule: HealthRule) -> Iterator[Mistake]:
    ways = rule.ways
    if not ways:
        yield Mistake(place, "says nothing of what is healthy; expected healthy, unhealthy, at_least, at_most, at_least_of or counter")
    elif len(ways) > 1:
        yield Mistake(place, f"judges in {len(ways)} ways ({' and '.join(ways)}); make them rules of their own")
    if rule.any_case and not (rule.healthy or rule.unhealthy):
        yield Mistake(f"{place}.any_case", "goes with healthy or unhealthy")
    if rule.at_least is not None and rule.at_most is not None and rule.at_least > rule.at_most:
        yield Mistake(f"{place}.at_most", f"expected a number ≥ {rule.at_least:g}, which is at_least, got {rule.at_most:g}")


def _of_models(family: Family) -> Iterator[Mistake]:
    names: set[str] = set()
    for index, model in enumerate(family.models):
        place = f"models[{index}]"
        if model.name in names:
            yield Mistake(f"{place}.name", f"there is a model {shown(model.name)} already")
        names.add(model.name)
        if bool(model.devices) == bool(model.values) or bool(model.values) != (model.attribute is not None):
            yield Mistake(place, "expected either devices, or attribute and values")
        elif isinstance(model.attribute, Source) and model.attribute.unit:
            yield Mistake(f"{place}.attribute", "a unit is for labels")


def _of_node(place: str, node: Node, family: Family, wrong: Set[str]) -> Iterator[Mistake]:
    known = (*_known(family, wrong), "each")
    for field, text in (("path", node.path), ("container_path", node.container_path or "")):
        if message := placeholder_mistake(text, known):
            yield Mistake(f"{place}.{field}", message)
    in_path, in_container = placeholders(node.path), placeholders(node.container_path or "")
    if bool(node.each) != ("each" in in_path):
        yield Mistake(f"{place}.each", "each goes with {each} in the path; give both or neither")
    elif node.each and node.container_path is not None and "each" not in in_container:
        yield Mistake(f"{place}.container_path", "expected {each} in it too, or all nodes would be one in the container")
    for position, value in enumerate(node.each):
        if not _EACH.fullmatch(value) or value in (".", ".."):
            yield Mistake(f"{place}.each[{position}]", f"expected letters, digits, '.', '_' and '-', got {shown(value)}")
    folders = [entries.folder for entries in family.entries]
    if node.folder and "class" not in wrong and node.folder not in folders:
        yield Mistake(f"{place}.class", f"{shown(node.folder)} is the folder of no class; there are {', '.join(folders) or 'none'}")


def _of_node_labels(family: Family) -> Iterator[Mistake]:
    known = (*FACTS, *family.labels, *(("model",) if family.models else ()))
    for index, rule in enumerate(family.node_labels):
        if rule.fact not in known:
            yield Mistake(f"node_labels[{index}].fact", f"{shown(rule.fact)} is no fact of such a card; there are {', '.join(known)}")
        elif rule.mixed == "sum" and rule.fact not in NUMBERS:
            yield Mistake(f"node_labels[{index}].mixed", f"only {', '.join(NUMBERS)} can be added up, not {rule.fact}")


def _of_partitions(family: Family) -> Iterator[Mistake]:
    divided = {value for node in family.nodes if node.divided for value in node.each}
    kinds: dict[str, str] = {}
    for kind, parts in family.partitions.items():
        place = below("partitions", kind)
        if not is_name(kind):
            yield Mistake(place, f"expected small letters, digits, '-' and '.', got {shown(kind)}")
        if not parts:
            yield Mistake(place, "expected at least one part, got none")
        for part, values in parts.items():
            if not _PART_NAME.fullmatch(part):
                yield Mistake(below(place, part), f"expected at most 32 letters, digits and '-', got {shown(part)}")
            if part in kinds:
                yield Mistake(below(place, part), f"{kinds[part]} has a part of this name already; a part belongs to one kind")
            kinds[part] = kind
            for index, value in enumerate(values):
                if value not in divided:
                    yield Mistake(f"{below(place, part)}[{index}]", f"{shown(value)} is in the each of no node that is divided")
    if len(kinds) > MAX_PARTS:
        yield Mistake("partitions", f"expected at most {MAX_PARTS} parts, got {len(kinds)}")
