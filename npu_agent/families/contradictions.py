"""What is wrong between the fields of a family that are each right by themselves."""

import re
from collections.abc import Iterator, Sequence, Set

from npu_agent.core.model_line import FACTS, NUMBERS
from npu_agent.families.containers import Node
from npu_agent.families.family import Family
from npu_agent.families.texts import attribute_mistake, is_name, placeholder_mistake, placeholders
from npu_agent.schema.mistakes import Mistake, below, shown

MAX_NODES = 256
"""Device nodes of one card, those of each `each` counted."""

MAX_PARTS = 256
"""Parts of one card, of all kinds."""

_EACH = re.compile(r"[A-Za-z0-9._-]{0,64}")
_PART_NAME = re.compile(r"[A-Za-z0-9-]{1,32}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,252}")
_ANNOTATION = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def contradictions(family: Family, wrong: Set[str]) -> Iterator[Mistake]:
    """Yield the mistakes; the sections of `wrong` have mistakes of their own already, and are not believed."""
    if "class" not in wrong:
        for attribute in family.entries.guards:
            if message := attribute_mistake(attribute):
                yield Mistake(below("class.guards", attribute), message)
    if "nodes" not in wrong:
        for index, node in enumerate(family.nodes):
            yield from _of_node(f"nodes[{index}]", node)
        if (count := sum(len(node.each) or 1 for node in family.nodes)) > MAX_NODES:
            yield Mistake("nodes", f"expected at most {MAX_NODES} device nodes, got {count}")
        if "partitions" not in wrong:
            yield from _of_partitions(family)
    if "labels" not in wrong:
        for label in family.labels:
            if not is_name(label) or label == "notice":
                yield Mistake(
                    below("labels", label), "expected small letters, digits, '-' and '.', and not notice, which is the agent's own"
                )
    if "node_labels" not in wrong and "labels" not in wrong:
        yield from _of_node_labels(family)
    if "mounts" not in wrong:
        for index, mount in enumerate(family.mounts):
            for text in (mount.host_path, mount.container_path or ""):
                if message := placeholder_mistake(text, ("index",)):
                    yield Mistake(f"mounts[{index}]", message)
    for section, pattern, expected in (
        ("environment", _VARIABLE, "the name of a variable: letters, digits and '_'"),
        ("annotations", _ANNOTATION, "the name of an annotation, such as example.com/name"),
    ):
        names: Sequence[str] = () if section in wrong else list(getattr(family, section))
        for name in names:
            if not pattern.fullmatch(name):
                yield Mistake(below(section, name), f"expected {expected}")


def _of_node(place: str, node: Node) -> Iterator[Mistake]:
    in_path, in_container = placeholders(node.path), placeholders(node.container_path or "")
    if bool(node.each) != ("each" in in_path):
        yield Mistake(f"{place}.each", "each goes with {each} in the path; give both or neither")
    elif node.each and node.container_path is not None and "each" not in in_container:
        yield Mistake(f"{place}.container_path", "expected {each} in it too, or all nodes would be one in the container")
    for position, value in enumerate(node.each):
        if not _EACH.fullmatch(value) or value in (".", ".."):
            yield Mistake(f"{place}.each[{position}]", f"expected letters, digits, '.', '_' and '-', got {shown(value)}")


def _of_node_labels(family: Family) -> Iterator[Mistake]:
    known = (*FACTS, *family.labels)
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
