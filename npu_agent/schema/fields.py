"""Plain data from outside into structs: every mistake at once, each with the path of its field and what is expected there."""

import functools
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import msgspec

from npu_agent.core.rules import Check, OneOrMany
from npu_agent.schema.mistakes import Mistake, advice, path_of, shown

S = TypeVar("S", bound=msgspec.Struct)
Steps = tuple[str | int, ...]


def read(data: object, kind: type[S]) -> tuple[S | None, list[Mistake]]:
    """Return `data` as a struct of `kind`, or None and each mistake in it.

    A section that is there and empty (None, as YAML reads it) is like an absent one. Structs, lists and mappings are walked, so that
    a mistake hides no other.
    """
    value, mistakes = read_what_is_right(data, kind)
    return (None if mistakes else value), mistakes


def read_what_is_right(data: object, kind: type[S]) -> tuple[S, list[Mistake]]:
    """Return what is right in `data` as a struct of `kind`, and each mistake.

    What is wrong has its default there, or is None where it has none; in a list or a mapping it is left out, but for structs, which
    keep their place in a list. It is for finding further mistakes, and for nothing else.
    """
    mistakes: list[Mistake] = []
    value = _value(data, kind, (), mistakes)
    return (_struct({}, kind, (), []) if value is _WRONG else value), mistakes


_WRONG: Any = object()
"""Instead of a value that cannot be made."""


@dataclass(frozen=True, slots=True)
class _Shape:
    """What data of a type can look like: at most one of a struct, a list of items and a mapping of values, else something plain."""

    kind: Any
    """The type with its limits, for what is plain and for what is said to be expected."""
    checks: tuple[Check, ...] = ()
    struct: type[msgspec.Struct] | None = None
    items: Any = None
    sequence: type[list[Any]] | type[tuple[Any, ...]] = list
    one_or_many: bool = False
    values: Any = None
    options: tuple["_Shape", ...] = ()
    """What data can be of a union, where each option looks different."""

    def fits(self, data: object) -> bool:
        """Return whether `data` looks like this."""
        return isinstance(data, dict) if self.struct else isinstance(data, str) and bool(self.checks)

    def of(self, data: object) -> "_Shape":
        """Return the option of a union that `data` looks like, else the whole."""
        is_list, is_mapping = isinstance(data, list), isinstance(data, dict)
        fitting = (shape for shape in self.options if (is_list and shape.items) or (is_mapping and (shape.struct or shape.values)))
        plain = [shape for shape in self.options if not (shape.items or shape.struct or shape.values)]
        return next(fitting, plain[0] if isinstance(data, str) and len(plain) == 1 else self)


@functools.cache
def _shape(kind: Any) -> _Shape:
    if is_union(kind):
        options = [option for option in typing.get_args(kind) if option is not types.NoneType]
        return _shape(options[0]) if len(options) == 1 else _Shape(kind, options=tuple(map(_shape, options)))
    extras: Sequence[object] = ()
    plain = kind
    if typing.get_origin(kind) is typing.Annotated:
        plain, *extras = typing.get_args(kind)
    checks = tuple(extra for extra in extras if isinstance(extra, Check))
    if is_union(plain):
        whole = _shape(plain)
        return replace(whole, kind=kind, checks=(*checks, *whole.checks))
    origin, arguments = typing.get_origin(plain), typing.get_args(plain)
    if isinstance(plain, type) and issubclass(plain, msgspec.Struct):
        return _Shape(kind, checks, struct=plain)
    if origin in (list, tuple):
        one_or_many = any(isinstance(extra, OneOrMany) for extra in extras)
        return _Shape(kind, checks, items=arguments[0], sequence=origin, one_or_many=one_or_many)
    if origin in _MAPPINGS:
        return _Shape(kind, checks, values=arguments[1])
    return _Shape(kind, checks)


def _value(data: object, kind: Any, steps: Steps, mistakes: list[Mistake]) -> Any:
    if kind is Any or (data is None and accepts_none(kind)):
        return data
    shape = _shape(kind).of(data)
    before = len(mistakes)
    value = _WRONG
    if shape.struct is not None and (data is None or isinstance(data, dict)):
        value = _struct(data or {}, shape.struct, steps, mistakes)
    elif shape.values is not None and (data is None or isinstance(data, dict)):
        fields = typing.cast(Mapping[str, object], data or {})
        walked = {key: _value(item, shape.values, (*steps, key), mistakes) for key, item in fields.items()}
        value = {key: item for key, item in walked.items() if item is not _WRONG}
    elif shape.items is not None and isinstance(data, list):
        value = _sequence(data, shape, steps, mistakes)
    elif shape.one_or_many and data is not None:
        value = _one(data, shape, steps, mistakes)
    else:
        value = _leaf(data, shape.kind, kind, steps, mistakes)
    if len(mistakes) == before:
        mistakes.extend(Mistake(path_of(steps), wrong) for check in shape.checks if (wrong := check.mistake(value)))
    return value


def _struct(data: Mapping[str, object], kind: type[msgspec.Struct], steps: Steps, mistakes: list[Mistake]) -> Any:
    values: dict[str, Any] = {}
    fields = fields_of(kind)
    for name, item in data.items():
        field = fields.get(name)
        if field is None:
            mistakes.append(Mistake(path_of((*steps, name)), _unknown(name, fields, len(mistakes))))
        elif not (item is None and not field.required and is_section(field.type)):
            value = _value(item, field.type, (*steps, name), mistakes)
            if value is not _WRONG:
                values[field.name] = value
    for name, field in fields.items():
        if field.required and name not in data:
            mistakes.append(Mistake(path_of((*steps, name)), f"is missing; expected {expectation(field.type)}"))
        if field.required:
            values.setdefault(field.name, None)
    return kind(**values)


def _sequence(data: Sequence[object], shape: _Shape, steps: Steps, mistakes: list[Mistake]) -> Any:
    struct = _shape(shape.items).struct
    items = []
    for index, item in enumerate(data):
        value = _value(item, shape.items, (*steps, index), mistakes)
        if value is not _WRONG:
            items.append(value)
        elif struct is not None:
            items.append(_struct({}, struct, (), []))
    return shape.sequence(items)


def _one(data: object, shape: _Shape, steps: Steps, mistakes: list[Mistake]) -> Any:
    own: list[Mistake] = []
    value = _value(data, shape.items, steps, own)
    if value is not _WRONG:  # it is such a value, and where it is a wrong one, its own rule says why
        mistakes += own
        return shape.sequence((value,))
    if _shape(shape.items).of(data).fits(data):  # what is wrong is in it, and not that it is one
        mistakes.extend(own)
        return _WRONG if value is _WRONG else shape.sequence((value,))
    return _leaf(data, shape.kind, shape.kind, steps, mistakes)


def _leaf(data: object, kind: Any, whole: Any, steps: Steps, mistakes: list[Mistake]) -> Any:
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError:
        expected = expectation(whole)
        message = f"expected {expected}, got {shown(data)}"
        if "text" in expected and isinstance(data, bool | int | float):
            message += "; put it in quotes to make it a text"
        mistakes.append(Mistake(path_of(steps), message))
        return _WRONG


@functools.cache
def expectation(kind: Any) -> str:
    """Return in words what a value of `kind` is, such as "an integer ≥ 1" or "a text or a list"."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        limits = [limit for extra in arguments[1:] if isinstance(extra, msgspec.Meta) for limit in _limits(extra)]
        single = f"{expectation(typing.get_args(arguments[0])[0])} or " if any(isinstance(extra, OneOrMany) for extra in arguments) else ""
        return single + expectation(arguments[0]) + (" " + " and ".join(limits) if limits else "")
    if is_union(kind):
        return " or ".join(dict.fromkeys(expectation(option) for option in arguments if option is not types.NoneType))
    if origin is typing.Literal:
        return " or ".join(shown(option) for option in arguments)
    if origin in (list, tuple):
        return "a list"
    if origin in _MAPPINGS or (isinstance(kind, type) and issubclass(kind, msgspec.Struct)):
        return "a mapping"
    return {str: "a text", int: "an integer", float: "a number", bool: "true or false"}.get(kind, "a value")


def is_union(kind: Any) -> bool:
    """Return whether `kind` is a union of types."""
    return typing.get_origin(kind) in (types.UnionType, typing.Union)


def accepts_none(kind: Any) -> bool:
    """Return whether None is a value of `kind`."""
    return is_union(kind) and types.NoneType in typing.get_args(kind)


_MAPPINGS = (dict, Mapping)


@functools.cache
def fields_of(kind: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """Return the fields of a struct by the names that they have in data."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}  # it resolves the annotations anew each time


def is_section(kind: Any) -> bool:
    """Return whether a value of `kind` is a mapping or a list, and nothing else."""
    shape = _shape(kind)
    return bool(shape.struct or shape.items or shape.values)


def is_list(kind: Any) -> bool:
    """Return whether a value of `kind` is a list, and nothing else."""
    return bool(_shape(kind).items)


def _limits(meta: msgspec.Meta) -> list[str]:
    if meta.ge is not None and meta.le is not None:
        return [f"from {meta.ge:g} to {meta.le:g}"]
    signs = (("≥", meta.ge), (">", meta.gt), ("≤", meta.le), ("<", meta.lt))
    return [f"{sign} {limit:g}" for sign, limit in signs if limit is not None]


def _unknown(name: str, known: Mapping[str, object], mistakes: int) -> str:
    return f"is not a known field; {advice(name, known, mistakes)}"
