"""Regular expressions of families: one group is the value, and none of them can take long.

A pattern is matched at the beginning of lines of at most 256 characters, of which a file has 4 KiB at the most. What could still make it
slow is refused: a repetition of a group, which can be nested, back references, look-arounds, and more than MAX_REPETITIONS of what can
repeat for ever, or of what may be there or not. So a line takes some 256² steps in the worst case, which is a millisecond.
"""

import functools
import re
import warnings
from typing import Annotated

from npu_agent.core.rules import Check
from npu_agent.schema.mistakes import shown

MAX_PATTERN = 200
"""Characters of a pattern."""

MAX_REPETITIONS = 2
"""How often a pattern has `*`, `+`, `?` or `{…}`, of each of the two kinds."""

MAX_COUNT = 64
"""The largest number in `{…}`."""

_TOKEN = re.compile(
    r"\\(?P<escape>.)"
    r"|\[\^?\]?(?:\\.|[^\]\\])*\]"
    r"|(?P<group>\((?:\?:)?)|\)"
    r"|(?P<repeat>[*+?]|\{[0-9,]+\})(?P<greed>[?+]?)"
    r"|.",
    re.DOTALL,
)


def pattern_mistake(text: str) -> str:
    """Return what is wrong with a regular expression, empty if nothing is."""
    if len(text) > MAX_PATTERN or not text.isprintable():
        return f"expected a regular expression of at most {MAX_PATTERN} printable characters, got {shown(text)}"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # of what another Python may read in another way
            groups = re.compile(text).groups
    except (re.error, OverflowError, RecursionError, Warning) as error:
        return f"expected a regular expression, got {shown(text)}: {error}"
    if groups != 1:
        return f"expected one group in ( and ), which is the value, got {groups}"
    return _cost_mistake(text)


def _cost_mistake(text: str) -> str:
    counts = {"for ever": 0, "or not": 0}
    before = ""
    for found in _TOKEN.finditer(text):
        token = found[0]
        if (escape := found["escape"]) and (escape.isdigit() and escape != "0"):
            return f"{token} refers to a group, which can take long; write it out"
        if found["group"] == "(" and text.startswith("?", found.end()):
            return f"{text[found.start() : found.end() + 2]} is not supported; there are (…) and (?:…)"
        if found["repeat"]:
            if before == ")":
                return f"a group with {found['repeat']} behind it can take long; write out what repeats"
            numbers = [int(number) for number in re.findall("[0-9]+", token)]
            if numbers and max(numbers) > MAX_COUNT:
                return f"expected at most {MAX_COUNT} repetitions, got {token}"
            if not (token.startswith("{") and "," not in token):
                counts["or not" if token[0] == "?" else "for ever"] += 1
        before = token
    for kind, count in counts.items():
        if count > MAX_REPETITIONS:
            signs = "? " if kind == "or not" else "*, + or {…}"
            return f"expected at most {MAX_REPETITIONS} of {signs.strip()}, got {count}; more can take long, and `after` skips to a text"
    return ""


Pattern = Annotated[str, Check(pattern_mistake)]


@functools.lru_cache(maxsize=1024)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return the pattern ready for use; it has been checked."""
    return re.compile(pattern)
