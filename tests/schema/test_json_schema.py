"""JSON Schemas of structs: the same types, limits and words as what reads the data."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from npu_agent.core.rules import ONE_OR_MANY
from npu_agent.schema.json_schema import DIALECT, Definitions


class Leaf(msgspec.Struct, kw_only=True):
    """A leaf."""

    size: Annotated[int, Meta(ge=1, le=5, description="how large")]
    kind: Literal["a", "b"] = "a"


class Tree(msgspec.Struct, kw_only=True):
    """A tree."""

    leaves: Annotated[tuple[Leaf, ...], Meta(description="its leaves")] = ()
    names: Annotated[tuple[str, ...], ONE_OR_MANY, Meta(description="its names")] = ()
    options: Mapping[str, Mapping[str, Any]] = {}
    first: Leaf | None = None
    number: int | list[Leaf] = 3


def test_a_struct_is_an_object_without_other_fields() -> None:
    schema = Definitions().document(Tree)
    assert (schema["$schema"], schema["$ref"]) == (DIALECT, "#/$defs/Tree")
    assert schema["$defs"]["Leaf"] == {
        "description": "A leaf.",
        "type": "object",
        "properties": {
            "size": {"description": "how large", "type": "integer", "minimum": 1, "maximum": 5},
            "kind": {"enum": ["a", "b"], "default": "a"},
        },
        "required": ["size"],
        "additionalProperties": False,
    }


def test_what_may_be_empty_or_written_as_its_only_item_may_be_so_in_the_schema() -> None:
    leaf = {"$ref": "#/$defs/Leaf"}
    null = {"type": "null"}
    nothing_or_leaf = {"anyOf": [leaf, null]}
    assert Definitions().document(Tree)["$defs"]["Tree"]["properties"] == {
        "leaves": {"description": "its leaves", "anyOf": [{"type": "array", "items": nothing_or_leaf}, null], "default": []},
        "names": {
            "description": "its names",
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}, null],
            "default": [],
        },
        "options": {
            "anyOf": [
                {"type": "object", "additionalProperties": {"anyOf": [{"type": "object", "additionalProperties": {}}, null]}},
                null,
            ],
            "default": {},
        },
        "first": nothing_or_leaf,
        "number": {"anyOf": [{"type": "integer"}, {"type": "array", "items": nothing_or_leaf}], "default": 3},
    }


def test_two_structs_of_one_name_are_two_definitions() -> None:
    other = msgspec.defstruct("Leaf", [("x", int)])
    definitions = Definitions()
    assert (definitions.of(Leaf), definitions.of(other), definitions.of(Leaf)) == (
        {"$ref": "#/$defs/Leaf"},
        {"$ref": "#/$defs/Leaf2"},
        {"$ref": "#/$defs/Leaf"},
    )
