"""Plain data from outside into structs: every mistake at once, each with the path of its field and what is expected there."""

import functools
import json
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong with one field. `path` is as in `resources[0].name`, empty for the whole."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


@dataclass(frozen=True, slots=True)
class Check:
    """A rule that a type cannot express, for `Annotated`: it takes the value and returns what is wrong, empty if nothing is."""

    mistake: Callable[[Any], str]


def read(data: object, kind: type[S], path: str = "") -> tuple[S | None, list[Mistake]]:
    """Return `data` as a struct of `kind`, or None and each mistake in it.

    An absent mapping (None, as an empty YAML section reads) is an empty one. Structs, lists and mappings are walked, so that a
    mistake hides no other.
    """
    mistakes: list[Mistake] = []
    value = _value(data, kind, path, mistakes)
    return (None if mistakes else typing.cast(S, value)), mistakes


def _value(data: object, kind: Any, path: str, mistakes: list[Mistake]) -> Any:
    if _is_union(kind) and data is not None:
        options = [option for option in typing.get_args(kind) if option is not types.NoneType]
        kind = options[0] if len(options) == 1 else kind
    checks: Sequence[Check] = ()
    plain = kind
    if typing.get_origin(kind) is typing.Annotated:
        plain, *extras = typing.get_args(kind)
        checks = [extra for extra in extras if isinstance(extra, Check)]
    before = len(mistakes)
    branch = _walkable(data, plain)
    if branch is None:
        value = _leaf(data, kind, path, mistakes)
    elif isinstance(branch, type) and issubclass(branch, msgspec.Struct):
        value = _struct({} if data is None else data, branch, path, mistakes)
    elif typing.get_origin(branch) is dict:
        items = typing.cast(Mapping[str, object], {} if data is None else data)
        value = {key: _value(item, typing.get_args(branch)[1], below(path, key), mistakes) for key, item in items.items()}
    else:
        sequence = typing.cast(Sequence[object], data)
        value = [_value(item, typing.get_args(branch)[0], f"{path}[{index}]", mistakes) for index, item in enumerate(sequence)]
    if len(mistakes) == before:
        mistakes.extend(Mistake(path, wrong) for check in checks if (wrong := check.mistake(value)))
    return value


def _walkable(data: object, kind: Any) -> Any:
    """Return the struct, list or mapping type in `kind` that `data` has the shape of, else None."""
    for option in typing.get_args(kind) if _is_union(kind) else (kind,):
        origin = typing.get_origin(option)
        if origin is list and isinstance(data, list):
            return option
        is_mapping = origin is dict or (isinstance(option, type) and issubclass(option, msgspec.Struct))
        if is_mapping and (isinstance(data, dict) or (data is None and option is kind)):
            return option
    return None


def _struct(data: object, kind: type[msgspec.Struct], path: str, mistakes: list[Mistake]) -> Any:
    values = dict(typing.cast(Mapping[str, object], data))
    read_values = {}
    before = len(mistakes)
    fields = _fields(kind)
    known = [field.encode_name for field in fields]
    mistakes.extend(Mistake(below(path, name), _unknown(name, known)) for name in values if name not in known)
    for field in fields:
        if field.encode_name in values:
            read_values[field.name] = _value(values[field.encode_name], field.type, below(path, field.encode_name), mistakes)
        elif field.required:
            mistakes.append(Mistake(below(path, field.encode_name), f"is missing; expected {expectation(field.type)}"))
    return kind(**read_values) if len(mistakes) == before else None


@functools.cache
def _fields(kind: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    return msgspec.structs.fields(kind)  # it resolves the annotations anew each time


def _leaf(data: object, kind: Any, path: str, mistakes: list[Mistake]) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError:
        expected = expectation(kind)
        message = f"expected {expected}, got {shown(data)}"
        if "text" in expected and isinstance(data, bool | int | float):
            message += "; put it in quotes to make it a text"
        mistakes.append(Mistake(path, message))
        return None


def below(path: str, key: str) -> str:
    """Return the path of the field `key` of what is at `path`."""
    step = key if _PLAIN_KEY.fullmatch(key) else f"[{shown(key)}]"
    return f"{path}.{step}" if path and not step.startswith("[") else f"{path}{step}"


def line_of(path: str, lines: Mapping[str, int]) -> int:
    """Return the line of the field at `path`, else of the nearest one above it, else 0."""
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path, 0)


def expectation(kind: Any) -> str:
    """Return in words what a value of `kind` is, such as "an integer ≥ 1" or "a text or a list"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        limits = [limit for extra in arguments[1:] if isinstance(extra, msgspec.Meta) for limit in _limits(extra)]
        return expectation(arguments[0]) + (" " + " and ".join(limits) if limits else "")
    if _is_union(kind):
        return " or ".join(dict.fromkeys(expectation(option) for option in arguments if option is not types.NoneType))
    if origin is typing.Literal:
        return " or ".join(shown(option) for option in arguments)
    if origin is list:
        return "a list"
    if origin is dict or (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return "a mapping"
    return {str: "a text", int: "an integer", float: "a number", bool: "true or false"}.get(kind, "a value")


def shown(data: object) -> str:
    """Return `data` as a short piece of JSON for a message; lists and mappings only by kind."""
    if isinstance(data, Mapping):
        return "a mapping"
    if isinstance(data, list | tuple):
        return "a list"
    if data is None:
        return "nothing"
    text = json.dumps(data, ensure_ascii=False) if isinstance(data, str | bool | int | float) else str(data)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (types.UnionType, typing.Union)


def _limits(meta: msgspec.Meta) -> list[str]:
    if meta.ge is not None and meta.le is not None:
        return [f"from {meta.ge:g} to {meta.le:g}"]
    signs = (("≥", meta.ge), (">", meta.gt), ("≤", meta.le), ("<", meta.lt))
    return [f"{sign} {limit:g}" for sign, limit in signs if limit is not None]


def _unknown(name: str, known: Sequence[str]) -> str:
    import difflib  # 10 ms that only a mistake needs to pay

    similar = difflib.get_close_matches(name, known, n=1)
    advice = f"did you mean {similar[0]}?" if similar else f"there are {', '.join(known)}"
    return f"is not a known field; {advice}"


_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
