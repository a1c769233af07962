"""What an administrator writes: YAML text into plain data, with the line of each field, and with bounds on what a text can cost.

The plain values are those of YAML 1.2: a PCI address such as 0000:01:00.0 is a text and not a number in base 60, "no" is not false,
and a date is a text. A duplicate key is refused, as are anchors and tags, with which a short text can be a huge document.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from npu_agent.schema.fields import below

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: ten times quicker."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class DocumentError(Exception):
    """A text is no YAML document that we take. `line` counts from 1 and is 0 where the whole is meant."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.message = message
        self.line = line


@dataclass(frozen=True, slots=True)
class Document:
    """The data of a text, and the line of each field by its path (`resources[0].name`)."""

    data: object
    lines: Mapping[str, int] = field(default_factory=dict)


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file. Raises DocumentError for what is no text or too much of it, and OSError."""
    file = Path(path)
    if not file.is_file() and file.exists():  # the open of a pipe without a writer would hang
        raise DocumentError("is not a file")
    with file.open("rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise DocumentError(f"is larger than {MAX_BYTES >> 20} MiB")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DocumentError(f"is not text in UTF-8 (byte {error.start} is 0x{content[error.start]:02x})", line) from None


def parse(text: str) -> Document:
    """Return the document in `text`; an empty text is None. Raises DocumentError with the line."""
    if len(text) > MAX_BYTES:
        raise DocumentError(f"is larger than {MAX_BYTES >> 20} MiB")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (column {mark.column + 1})" if mark else ""
        raise DocumentError(f"is not YAML: {error.problem or error.context}{where}", mark.line + 1 if mark else 0) from None
    except (yaml.YAMLError, ValueError) as error:  # characters that YAML does not take, lone surrogates among them
        raise DocumentError(f"is not YAML: {str(error).splitlines()[0]}") from None
    return Document(builder.root, builder.lines)


_PENDING = object()


class _Builder:
    """Builds the data from the events of the parser, so that depth and repetition are seen before they cost anything."""

    def __init__(self) -> None:
        self.root: object = None
        self.lines: dict[str, int] = {}
        self._documents = 0
        self._open: list[tuple[str, Any]] = []
        """The path and the value of each list and mapping that is still open, from the outermost inwards."""
        self._key: list[object] = []
        """For each of them the key whose value comes next; _PENDING while a key comes next, None in a list."""

    def take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise DocumentError("a second document begins here; expected one", line)
            case yaml.AliasEvent():
                raise DocumentError(f"the alias *{event.anchor} is not supported; write the value out", line)
            case yaml.ScalarEvent():
                self._refuse_decoration(event, line)
                if self._key and self._key[-1] is _PENDING:
                    self._begin_field(event.value, line)
                else:
                    self._put(_plain(event.value) if event.implicit[0] else event.value, line)
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._refuse_decoration(event, line)
                if self._key and self._key[-1] is _PENDING:
                    raise DocumentError("a list or a mapping cannot be a key", line)
                if len(self._open) == MAX_DEPTH:
                    raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels", line)
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                value: Any = {} if is_mapping else []
                self._open.append((self._put(value, line), value))
                self._key.append(_PENDING if is_mapping else None)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._open.pop()
                self._key.pop()

    def _begin_field(self, key: str, line: int) -> None:
        path, mapping = self._open[-1]
        if key in mapping:
            first = self.lines[below(path, key)]
            raise DocumentError(f"{below(path, key)} is here a second time; it was on line {first} already", line)
        self.lines[below(path, key)] = line
        self._key[-1] = key

    def _put(self, value: object, line: int) -> str:
        if not self._open:
            self.root = value
            return ""
        path, parent = self._open[-1]
        if isinstance(parent, list):
            place = f"{path}[{len(parent)}]"
            self.lines[place] = line
            parent.append(value)
        else:
            key = str(self._key[-1])
            place = below(path, key)
            parent[key] = value
            self._key[-1] = _PENDING
        return place

    def _refuse_decoration(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            raise DocumentError(f"the anchor &{event.anchor} is not supported; write the value out where it is needed", line)
        if event.tag is not None:
            raise DocumentError(f"the tag {event.tag} is not supported", line)


def _plain(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


def dump(data: object) -> str:
    """Return plain data as YAML that `parse` reads back as the same."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _plain(text) == text and text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
