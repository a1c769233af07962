#!/usr/bin/env python3
"""Writes what is said of the chart's values (values.yaml, their schema, the table of the chart's README) out of chart_values.py.

Without an argument it refreshes the chart in place; with a folder it writes the fresh files there, to be compared."""

import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from chart_values import Cluster, Config, Values

from npu_agent.backends.fake.cards import Options as FakeOptions
from npu_agent.backends.sysfs.options import Options as SysfsOptions
from npu_agent.config.cluster import ClusterSettings, NodeTaint
from npu_agent.config.schema import json_schema
from npu_agent.schema.document import dump
from npu_agent.schema.fields import expectation, fields_of
from npu_agent.schema.json_schema import Definitions

CHART = Path(__file__).parent.parent / "container" / "chart" / "npu-agent"
GENERATED = "Made from scripts/chart_values.py by scripts/generate_chart.py."
WIDTH = 110


def main(target: Path) -> None:
    """Write the fresh files into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    (target / "values.yaml").write_text(f"# {GENERATED}\n{values()}")
    (target / "values.schema.json").write_text(json.dumps(schema(), indent=1) + "\n")
    page = (CHART / "README.md").read_text()
    (target / "README.md").write_text(
        re.sub(
            r"(<!-- begin values -->\n).*?(<!-- end values -->)", lambda region: f"{region[1]}{table()}\n{region[2]}", page, flags=re.DOTALL
        )
    )


def values() -> str:
    """The defaults, each below what it is."""
    return "\n".join(_lines(Values, 0)) + "\n"


def _lines(section: type[msgspec.Struct], depth: int) -> Iterator[str]:
    indent = "  " * depth
    for name, field in fields_of(section).items():
        if not depth:
            yield ""
        inner = _section_of(field)
        about = _about(inner) if inner else f"{_description(field.type)} ({expectation(field.type)})"
        yield from textwrap.wrap(about, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_long_words=False)
        if inner:
            yield f"{indent}{name}:"
            yield from _lines(inner, depth + 1)
        else:
            yield from textwrap.indent(dump({name: _default(field)}), indent).splitlines()


def table() -> str:
    """The table of all values by their paths."""
    rows = [
        f"| `{path}` | {_description(field.type)} | {expectation(field.type)} | `{json.dumps(_default(field))}` |"
        for path, field in _paths(Values, "")
    ]
    return "\n".join(["| value | what it is | values | default |", "|---|---|---|---|", *rows])


def _paths(section: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, field in fields_of(section).items():
        if inner := _section_of(field):
            yield from _paths(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def schema() -> dict[str, Any]:
    """The schema of the values, with the agent's own for its configuration. Draft 7, which helm 3 knows too."""
    definitions = Definitions()
    document = definitions.document(Values)
    for section in definitions.schemas.values():
        _without_null(section)
    configuration = json_schema({"fake": FakeOptions, "sysfs": SysfsOptions})
    # What the agent tells the cluster is a value of its own, since the rights of the pods go with it.
    del configuration["$defs"]["Settings"]["properties"]["cluster"]
    for section in (ClusterSettings, NodeTaint):
        del configuration["$defs"][section.__name__]
    both = definitions.schemas.keys() & configuration["$defs"].keys()
    if both:
        raise ValueError(f"the values and the configuration both have {', '.join(both)}: give the section in chart_values.py another name")
    # `off` without quotes is false for helm, which reads YAML 1.1.
    definitions.schemas[Cluster.__name__]["properties"]["labels"]["enum"].append(False)
    data = definitions.schemas[Config.__name__]["properties"]["data"]
    definitions.schemas[Config.__name__]["properties"]["data"] = {
        "description": data["description"],
        "allOf": [{"$ref": configuration["$ref"]}],
        "default": {},
    }
    return {
        **document,
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": GENERATED,
        "$defs": {**definitions.schemas, **configuration["$defs"]},
    }


def _without_null(section: dict[str, Any]) -> None:
    # helm takes a value that is null out before it asks the schema, so that one that must be there is missing then.
    for name, of in section["properties"].items():
        options = [option for option in of.get("anyOf", ()) if option != {"type": "null"}]
        if len(options) == 1:
            of.pop("anyOf")
            if "$ref" in options[0]:
                section["required"].append(name)
                of["allOf"] = options  # beside a reference draft 7 sees nothing
            else:
                of.update(options[0])


def _section_of(field: Any) -> type[msgspec.Struct] | None:
    return field.type if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct) else None


def _about(section: type[msgspec.Struct]) -> str:
    return (section.__doc__ or "").strip()


def _description(kind: Any) -> str:
    return next(extra.description for extra in reversed(kind.__metadata__) if getattr(extra, "description", None))


def _default(field: Any) -> Any:
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    return _without_defaults(msgspec.to_builtins(default), default)


def _without_defaults(data: Any, value: Any) -> Any:
    """Return `data` without what the items of a list have by default: a toleration is written as people write one."""
    if not isinstance(data, list):
        return data
    defaults = [
        {field.encode_name: field.default for field in msgspec.structs.fields(item)} if isinstance(item, msgspec.Struct) else {}
        for item in value
    ]
    return [
        {name: content for name, content in item.items() if name not in known or known[name] != content} if isinstance(item, dict) else item
        for item, known in zip(data, defaults, strict=True)
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else CHART)
