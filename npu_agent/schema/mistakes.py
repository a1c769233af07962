"""Mistakes in what people write: where each is, what is said of it, and a report of them that is bounded and printable."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from npu_agent.core.text import printable

MAX_MISTAKES = 20
"""Mistakes of one document that are told; of the rest the number is."""

MAX_SHOWN = 60
"""Characters of a text from a document that a message repeats."""

MAX_MESSAGE = 1000
"""Characters of what is said of one mistake."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with one field. `path` is as in `resources[0].name`, empty for the whole."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


@dataclass(slots=True)
class Lines:
    """The line on which a value begins, counted from 1, and those of what is in it, by key or in order."""

    line: int
    below: "dict[str, Lines] | list[Lines] | None" = None


def report(place: str, mistakes: Sequence[Mistake], lines: Lines | None = None) -> str:
    """Return what to tell of `mistakes` (at least one) in the document at `place`: the first MAX_MISTAKES, and how many more."""
    place = printable(place, MAX_MESSAGE)
    said = told(mistakes, lines)
    if len(mistakes) == 1:
        return f"{place}: {said[0]}"
    return "\n  ".join([f"{place} has {len(mistakes)} mistakes:", *said])


def told(mistakes: Sequence[Mistake], lines: Lines | None = None) -> list[str]:
    """Return one line for each of the first MAX_MISTAKES, in the order of their lines in the document, and one for all others."""
    numbered = [(line_of(mistake.path, lines), mistake) for mistake in mistakes[:MAX_MISTAKES]]
    numbered.sort(key=lambda pair: pair[0])
    said = [printable(f"line {line}: {mistake}" if line else str(mistake), MAX_MESSAGE) for line, mistake in numbered]
    return said if len(mistakes) <= MAX_MISTAKES else [*said, f"and {len(mistakes) - MAX_MISTAKES} more"]


def line_of(path: str, lines: Lines | None) -> int:
    """Return the line of the field at `path`, else of the nearest one above it, else 0."""
    line = 0
    position = 0
    while lines is not None and (found := _STEP.match(path, position)):
        position = found.end()
        lines = _child(lines, found)
        line = lines.line if lines is not None else line
    return line


def below(path: str, key: str) -> str:
    """Return the path of the field `key` of what is at `path`."""
    step = key if _PLAIN_KEY.fullmatch(key) else f"[{shown(key)}]"
    return f"{path}.{step}" if path and not step.startswith("[") else f"{path}{step}"


def path_of(steps: Iterable[str | int]) -> str:
    """Return the path of the field that `steps` (keys, and indexes in lists) lead to."""
    path = ""
    for step in steps:
        path = f"{path}[{step}]" if isinstance(step, int) else below(path, step)
    return path


def shown(data: object) -> str:
    """Return `data` as a short piece of JSON for a message; lists and mappings only by kind."""
    if isinstance(data, Mapping):
        return "a mapping"
    if isinstance(data, list | tuple):
        return "a list"
    if data is None:
        return "nothing"
    if isinstance(data, str):
        return printable(json.dumps(data[: MAX_SHOWN + 1], ensure_ascii=False), MAX_SHOWN)
    return printable(json.dumps(data) if isinstance(data, bool | int | float) else str(data), MAX_SHOWN)


def listed(names: Iterable[str]) -> str:
    """Return `names` one after another for a message, and where there are many, how many more."""
    names = list(names)
    rest = f" and {len(names) - MAX_MISTAKES} more" if len(names) > MAX_MISTAKES else ""
    return ", ".join(printable(name, MAX_SHOWN) for name in names[:MAX_MISTAKES]) + rest


def advice(name: str, known: Iterable[str], mistakes: int) -> str:
    """Return what to write instead of `name`: the one of `known` that it is probably meant to be, else all of them.

    `mistakes` is how many there are already: advice costs most, and that of the thousandth is not told.
    """
    if mistakes >= MAX_MISTAKES:
        return "…"
    known = list(known)
    if len(name) <= MAX_SHOWN:
        import difflib  # 10 ms that only a mistake needs to pay

        meant = [own for own in known if not _is_opposite(name, own)]
        for similar in difflib.get_close_matches(name, meant, n=1):
            return f"did you mean {printable(similar, MAX_SHOWN)}?"
    return there_are(known)


def _is_opposite(name: str, other: str) -> bool:
    """Return whether one of the two says that it is not the other: nobody who writes `not_shared` means `shared`."""
    short, long = sorted((name, other), key=len)
    return long != short and long.endswith(short) and long[: -len(short)].rstrip("_-") in _NEGATIONS


_NEGATIONS = ("un", "not", "non", "no", "in", "im", "dis", "de", "anti")


def there_are(names: Iterable[str]) -> str:
    """Return a message that there are `names`."""
    names = list(names)
    return f"there {'is' if len(names) == 1 else 'are'} {listed(names) or 'none'}"


_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,59}")
_STEP = re.compile(r'\.?(?P<key>[A-Za-z_][A-Za-z0-9_-]*)|\[(?P<index>[0-9]+)\]|\[(?P<shown>"(?:[^"\\]|\\.)*"|".*?…)\]')


def _child(lines: Lines, step: re.Match[str]) -> Lines | None:
    match lines.below:
        case list() as items:
            index = step["index"]
            return items[int(index)] if index and len(index) < 10 and int(index) < len(items) else None
        case dict() as fields:
            if step["key"] is not None:
                return fields.get(step["key"])
            return next((child for key, child in fields.items() if shown(key) == step["shown"]), None)
    return None


def folder_mistake(text: str) -> str:
    """Return what is wrong with the whole path of a folder of the host, empty if nothing is."""
    is_folder = text.startswith("/") and "\0" not in text
    return "" if is_folder else f"expected the whole path of a folder, got {shown(text)}"
