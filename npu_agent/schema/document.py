"""What an administrator writes: YAML text into plain data, with the line of each field, and with bounds on what a text can cost.

The plain values are those of YAML 1.2: a PCI address such as 0000:01:00.0 is a text and not a number in base 60, "no" is not false,
and a date is a text. A duplicate key is refused, as are anchors and tags, with which a short text can be a huge document. So are long
keys, many values and many directives: what a text of the largest size can cost is known, in time and in memory.
"""

import itertools
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from npu_agent.core.text import printable
from npu_agent.schema.errors import DocumentError
from npu_agent.schema.mistakes import MAX_SHOWN, Lines, path_of, shown

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 20_000
"""Values of a document: texts, numbers, lists and mappings."""

MAX_KEY = 512
"""Characters of a key. The longest that has a meaning is the name of an annotation, with 317."""

MAX_DIRECTIVES = 16
"""Lines that begin with "%". libyaml compares each %TAG with all before it: a mebibyte of them takes ten seconds."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml where PyYAML was built with it: ten times quicker."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,18}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, object] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass(frozen=True, slots=True)
class Document:
    """The data of a text, and the lines of its fields."""

    data: object
    lines: Lines


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a file. Raises DocumentError for what is no text or too much of it, and OSError."""
    with open(path, "rb", opener=open_file) as stream:
        return text_of(stream.read(MAX_BYTES + 1) or b"")


def open_file(path: str, flags: int) -> int:
    """Return a descriptor of the file at `path`: an opener for `open`. Raises DocumentError for what is not a file, and OSError."""
    if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116 - an opener gets a text
        raise DocumentError("is not a file")
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)  # if it is a pipe by now, it would hang without a writer


def text_of(content: bytes) -> str:
    """Return `content` as text. Raises DocumentError for what is no text or too much of it; MAX_BYTES + 1 bytes show that."""
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
    if sum(1 for _ in itertools.islice(_DIRECTIVE.finditer(text), MAX_DIRECTIVES + 1)) > MAX_DIRECTIVES:
        raise DocumentError(f"has more than {MAX_DIRECTIVES} lines that begin with %")
    builder = _Builder()
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" (column {mark.column + 1})" if mark else ""
        raise DocumentError(f"is not YAML: {error.problem or error.context}{where}", mark.line + 1 if mark else 0) from None
    except (yaml.YAMLError, ValueError) as error:  # characters that YAML does not take, lone surrogates among them
        raise DocumentError(f"is not YAML: {printable(str(error).splitlines()[0], 2 * MAX_SHOWN)}") from None
    return Document(builder.root, builder.lines)


_DIRECTIVE = re.compile(r"(?:^|[\n\r\x85\u2028\u2029])%")

_PENDING = object()


class _Builder:
    """Builds the data from the events of the parser, so that depth and repetition are seen before they cost anything."""

    def __init__(self) -> None:
        self.root: object = None
        self.lines = Lines(1)
        self._documents = 0
        self._values = 0
        self._open: list[tuple[Any, Any]] = []
        """Each list and mapping that is still open, from the outermost inwards, and the lines of what is in it, of the same shape."""
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
                raise DocumentError(f"the alias *{_short(event.anchor)} is not supported; write the value out", line)
            case yaml.ScalarEvent():
                self._refuse_decoration(event, line)
                if self._key and self._key[-1] is _PENDING:
                    self._begin_field(event.value, line)
                else:
                    self._put(_plain(event.value) if event.implicit[0] else event.value, Lines(line))
            case yaml.SequenceStartEvent() | yaml.MappingStartEvent():
                self._refuse_decoration(event, line)
                if self._key and self._key[-1] is _PENDING:
                    raise DocumentError("a list or a mapping cannot be a key", line)
                if len(self._open) == MAX_DEPTH:
                    raise DocumentError(f"is nested deeper than {MAX_DEPTH} levels", line)
                is_mapping = isinstance(event, yaml.MappingStartEvent)
                value: Any = {} if is_mapping else []
                below: Any = {} if is_mapping else []
                self._put(value, Lines(line, below), is_whole=False)
                self._open.append((value, below))
                self._key.append(_PENDING if is_mapping else None)
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._open.pop()
                self._key.pop()
                self._end_value()

    def _begin_field(self, key: str, line: int) -> None:
        mapping, lines = self._open[-1]
        if len(key) > MAX_KEY:
            raise DocumentError(f"the key {shown(key)} has more than {MAX_KEY} characters", line)
        if key in mapping:
            first = lines[key].line
            raise DocumentError(f"{self._path(key)} is here a second time; it was on line {first} already", line)
        lines[key] = Lines(line)
        self._key[-1] = key

    def _put(self, value: object, lines: Lines, *, is_whole: bool = True) -> None:
        self._values += 1
        if self._values > MAX_VALUES:
            raise DocumentError(f"has more than {MAX_VALUES} values", lines.line)
        if not self._open:
            self.root, self.lines = value, lines
            return
        parent, below = self._open[-1]
        if isinstance(parent, list):
            parent.append(value)
            below.append(lines)
        else:
            key = self._key[-1]
            parent[key] = value
            below[key].below = lines.below  # the field begins where its key is
        if is_whole:
            self._end_value()

    def _end_value(self) -> None:
        if self._key and self._key[-1] is not None:
            self._key[-1] = _PENDING

    def _path(self, key: str) -> str:
        steps = [len(value) - 1 if own is None else str(own) for (value, _), own in zip(self._open, self._key, strict=True)]
        return path_of([*steps[:-1], key])

    def _refuse_decoration(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            raise DocumentError(f"the anchor &{_short(event.anchor)} is not supported; write the value out where it is needed", line)
        if event.tag is not None:
            raise DocumentError(f"the tag {_short(event.tag)} is not supported", line)


def _short(text: str | None) -> str:
    return printable(text or "", MAX_SHOWN)


def _plain(text: str) -> object:
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


def dump(data: object, *, in_ascii: bool = False) -> str:
    """Return plain data as YAML that `parse` reads back as the same, with the escapes of other characters if it is to be `in_ascii`."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=not in_ascii, width=120)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if _plain(text) == text and text.isprintable() else '"')


_Dumper.add_representer(str, _represent_text)
