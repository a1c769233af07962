"""The JSON Schema of a configuration, checked by a small validator of the words that it uses."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from npu_agent.backends.fake.cards import Options as FakeOptions
from npu_agent.backends.sysfs.options import Options as SysfsOptions
from npu_agent.config.configuration import DEFAULT, to_data
from npu_agent.config.schema import json_schema

EXAMPLES = re.findall(r"```yaml\n(.*?)```", (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(), re.DOTALL)

TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def is_valid(data: Any, schema: dict[str, Any], definitions: dict[str, Any]) -> bool:
    if "$ref" in schema and not is_valid(data, definitions[schema["$ref"].removeprefix("#/$defs/")], definitions):
        return False
    if "anyOf" in schema and not any(is_valid(data, option, definitions) for option in schema["anyOf"]):
        return False
    if "enum" in schema and data not in schema["enum"]:
        return False
    if "type" in schema:
        right = isinstance(data, TYPES[schema["type"]]) and (isinstance(data, bool) == (schema["type"] == "boolean"))
        if not right:
            return False
    if isinstance(data, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        fields = ((item, known.get(name, others)) for name, item in data.items())
        return set(schema.get("required", ())) <= data.keys() and all(
            below is not False and is_valid(item, below, definitions) for item, below in fields
        )
    if isinstance(data, list | tuple):
        return len(data) >= schema.get("minItems", 0) and all(is_valid(item, schema.get("items", {}), definitions) for item in data)
    if isinstance(data, int | float):
        return bool(schema.get("minimum", data) <= data <= schema.get("maximum", data))
    return True


SCHEMA = json_schema({"fake": FakeOptions, "sysfs": SysfsOptions})


@pytest.mark.parametrize(
    "text", [EXAMPLES[0], *EXAMPLES[2:], "resources:\nexclude:\nbackends: {sysfs: }", "exclude: {ids: [a], attributes: {b: c}}"]
)
def test_what_the_agent_takes_is_valid(text: str) -> None:
    assert is_valid(yaml.safe_load(text), SCHEMA, SCHEMA["$defs"])
    assert is_valid(yaml.safe_load(text), json_schema(), json_schema()["$defs"])


def test_the_defaults_are_valid() -> None:
    assert is_valid(to_data(DEFAULT), SCHEMA, SCHEMA["$defs"])


@pytest.mark.parametrize(
    "data",
    [
        [],
        {"resource": []},
        {"resources": [{}]},
        {"resources": [{"name": "a/b", "replicas": 0}]},
        {"resources": [{"name": "a/b", "policy": "tight"}]},
        {"exclude": {"ids": []}},
        {"exclude": {"numa_nodes": -1}},
        {"probe_interval_s": "1s"},
        {"backends": {"fake": {"accelerators": "many"}}},
        {"backends": {"sysfs": {"familys": []}}},
        {"backends": {"acme": 3}},
    ],
)
def test_what_the_agent_refuses_is_not_valid(data: object) -> None:
    assert not is_valid(data, SCHEMA, SCHEMA["$defs"])


def test_each_field_says_what_it_is() -> None:
    fields = SCHEMA["$defs"]["Selector"]["properties"]
    assert fields["families"]["description"] == "model lines, such as `rngd`"
    assert all(field["description"] for field in fields.values())
