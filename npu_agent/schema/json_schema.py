"""A struct that is read from data as a JSON Schema (draft 2020-12), from the same types, limits and descriptions."""

import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from npu_agent.core.rules import OneOrMany
from npu_agent.schema.fields import accepts_none, fields_of, is_list, is_section, is_union

DIALECT = "https://json-schema.org/draft/2020-12/schema"

Schema = dict[str, Any]


class Definitions:
    """The schemas of structs, each under the name of its struct, or that and a number."""

    def __init__(self) -> None:
        self.schemas: dict[str, Schema] = {}
        self._names: dict[type[msgspec.Struct], str] = {}

    def document(self, kind: type[msgspec.Struct]) -> Schema:
        """Return the schema of all data that can be read as `kind`. Rules that a type cannot express are not in it."""
        return {"$schema": DIALECT, **self.of(kind), "$defs": self.schemas}

    def of(self, kind: Any) -> Schema:
        """Return the schema of a value of `kind`."""
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Annotated:
            return self._annotated(arguments[0], arguments[1:])
        if is_union(kind):
            return {"anyOf": [self.of(option) for option in arguments]}
        if origin is typing.Literal:
            return {"enum": list(arguments)}
        if origin in (list, tuple):
            return {"type": "array", "items": self.of_section(arguments[0])}
        if origin in (dict, Mapping):
            return {"type": "object", "additionalProperties": self.of_section(arguments[1])}
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return {"$ref": f"#/$defs/{self._name(kind)}"}
        return dict(_PLAIN.get(kind, {}))

    def of_section(self, kind: Any) -> Schema:
        """Return the schema of a value of `kind` that is an item of a list or a mapping: an empty mapping may be written as nothing."""
        return _or_null(self.of(kind)) if is_section(kind) and not is_list(kind) else self.of(kind)

    def _annotated(self, plain: Any, extras: tuple[object, ...]) -> Schema:
        schema = self.of(plain)
        if any(isinstance(extra, OneOrMany) for extra in extras):
            schema = {"anyOf": [schema["items"], {**schema, "minItems": 1}]}
        for meta in extras:
            if isinstance(meta, msgspec.Meta):
                limits = {keyword: getattr(meta, name) for name, keyword in _LIMITS.items() if getattr(meta, name) is not None}
                schema = {**({"description": meta.description} if meta.description else {}), **schema, **limits}
        return schema

    def _name(self, kind: type[msgspec.Struct]) -> str:
        if kind not in self._names:
            name, number = kind.__name__, 1
            while name in self.schemas:
                number += 1
                name = f"{kind.__name__}{number}"
            self._names[kind] = name
            self.schemas[name] = {}
            self.schemas[name] = self._struct(kind)
        return self._names[kind]

    def _struct(self, kind: type[msgspec.Struct]) -> Schema:
        fields = fields_of(kind)
        return {
            "description": (kind.__doc__ or "").strip(),
            "type": "object",
            "properties": {name: self._field(field) for name, field in fields.items()},
            "required": [name for name, field in fields.items() if field.required],
            "additionalProperties": False,
        }

    def _field(self, field: msgspec.structs.FieldInfo) -> Schema:
        schema = self.of(field.type)
        if field.required:
            return schema
        if is_section(field.type) and not accepts_none(field.type):  # a section that is there and empty is like an absent one
            schema = _or_null(schema)
        default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
        return schema if default is None else {**schema, "default": msgspec.json.decode(msgspec.json.encode(default))}


def _or_null(schema: Schema) -> Schema:
    about = {"description": schema["description"]} if "description" in schema else {}
    options = schema.get("anyOf") or [{key: value for key, value in schema.items() if key != "description"}]
    return {**about, "anyOf": [*options, {"type": "null"}]}


_PLAIN: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
}
_LIMITS = {
    "ge": "minimum",
    "gt": "exclusiveMinimum",
    "le": "maximum",
    "lt": "exclusiveMaximum",
    "min_length": "minLength",
    "pattern": "pattern",
}
