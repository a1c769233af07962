"""What a family reads of a card: a file of its entry or of the machine, and which piece of it is the value."""

import re
from collections.abc import Sequence
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from npu_agent.core.rules import ONE_OR_MANY, Check
from npu_agent.families.patterns import Pattern, compiled
from npu_agent.families.texts import CARD, Text, empty_mistake, file_name_mistake, placeholder_mistake, stars_mistake
from npu_agent.schema.mistakes import shown

ROOTS = {"pci": "", "sys": "/sys", "proc": "/proc", "debug": "/sys/kernel/debug"}
"""Where the path of an attribute can begin, instead of at the card's entry; `pci` is the folder of its PCI function."""

MAX_ATTRIBUTES = 8
"""Attributes of which the first that is there is read."""

_ROOT = re.compile(r"([a-z]+):")


def split_root(attribute: str) -> tuple[str, str]:
    """Return the root that an attribute begins with, empty for the card's entry, and its path below that."""
    found = _ROOT.match(attribute)
    return (found[1], attribute[found.end() :]) if found and found[1] in ROOTS else ("", attribute)


def attribute_mistake(text: str) -> str:
    """Return what is wrong with the name of an attribute, empty if nothing is."""
    _, path = split_root(text)
    if any(file_name_mistake(part) for part in path.split("/")) or len(text) > 1024:
        roots = ", ".join(f"{root}:" for root in ROOTS)
        return f"expected the name of an attribute, or a path below the entry such as device/status or below {roots}, got {shown(text)}"
    return placeholder_mistake(text, CARD) or stars_mistake(path)


def _attributes_mistake(attributes: Sequence[str]) -> str:
    if len(attributes) > MAX_ATTRIBUTES:
        return f"expected at most {MAX_ATTRIBUTES} attributes, got {len(attributes)}"
    return empty_mistake(attributes)


ATTRIBUTE_IN_WORDS = "the attribute, or a list of which the first that is there is read"
AFTER_IN_WORDS = "the value is what follows this text in the first line that has it, without `:`, `=` and white space around it"
PATTERN_IN_WORDS = "a regular expression, matched at the beginning of what `after` leaves, else of each line; its one group is the value"

Attribute = Annotated[str, Check(attribute_mistake)]
Attributes = Annotated[tuple[Attribute, ...], ONE_OR_MANY, Check(_attributes_mistake)]


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of an attribute."""

    attribute: Annotated[Attributes, Meta(description=ATTRIBUTE_IN_WORDS)]
    after: Annotated[Text, Meta(description=AFTER_IN_WORDS)] = ""
    pattern: Annotated[Pattern, Meta(description=PATTERN_IN_WORDS)] = ""
    unit: Annotated[Text, Meta(description="what is told behind the value")] = ""


Said: TypeAlias = Attribute | Source
"""A whole attribute, or a piece of one."""


def source_of(said: str | Source) -> Source:
    """Return what is read, in the one form."""
    return said if isinstance(said, Source) else Source(attribute=(said,))


def name_of(said: str | Source) -> str:
    """Return what people call it."""
    return said if isinstance(said, str) else said.attribute[0]


def is_piece(after: str, pattern: str) -> bool:
    """Return whether the value is a piece of the file and not all of it."""
    return bool(after or pattern)


def piece(lines: Sequence[str], after: str, pattern: str) -> str | None:
    """Return the value that `lines` (each of at most 256 characters) have, None if they have none."""
    for line in lines:
        if after:
            _, found, line = line.partition(after)
            if not found:
                continue
            line = line.strip(" \t:=")
        if not pattern:
            return line
        if match := compiled(pattern).match(line):
            return (match[1] or "").strip()
        if after:
            return None
    return None
