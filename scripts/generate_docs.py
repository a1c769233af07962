#!/usr/bin/env python3
"""Writes what docs/ says of the code out of the code: the parts between `<!-- begin NAME -->` and `<!-- end NAME -->`.

Without an argument it refreshes docs/ in place; with a folder it writes the fresh pages there, to be compared.
"""

import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import typer

from npu_agent.backends.fake import cards as fake_cards
from npu_agent.backends.fake.backend import COMMANDS as FAKE_COMMANDS
from npu_agent.backends.sysfs import options as sysfs_options
from npu_agent.backends.sysfs.parts import parts_of
from npu_agent.cli import app, listing
from npu_agent.cluster.labels import PREFIX, VERSION_PARTS, describe
from npu_agent.config import cdi, cluster
from npu_agent.config import configuration as config
from npu_agent.config.errors import ConfigurationError
from npu_agent.config.reading import parse
from npu_agent.core import model_line, selection
from npu_agent.core.accelerator import Accelerator
from npu_agent.core.health import Health
from npu_agent.core.inventory import Tracked
from npu_agent.families.attributes import Source
from npu_agent.families.family import Family
from npu_agent.families.reading import read_shipped, shipped_names
from npu_agent.schema.document import dump
from npu_agent.schema.fields import expectation

DOCS = Path(__file__).parent.parent / "docs"
WIDTH = 110


def main(target: Path) -> None:
    """Write the fresh pages into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for page in sorted(DOCS.glob("*.md")):
        text = page.read_text()
        if "<!-- begin " in text:
            (target / page.name).write_text(re.sub(r"(<!-- begin (\S+) -->\n).*?(<!-- end \2 -->)", _fresh, text, flags=re.DOTALL))


def _fresh(region: re.Match[str]) -> str:
    return f"{region[1]}{PARTS[region[2]]().strip()}\n{region[3]}"


def commands() -> str:
    """The help of every command, each below its name."""
    return "\n\n".join(f"### `{name}`\n\n```text\n{text}\n```" for name, text in _helps(typer.main.get_command(app), "npu-agent"))


def _helps(command: Any, name: str) -> Iterator[tuple[str, str]]:
    context = command.make_context(name, [], resilient_parsing=True, terminal_width=WIDTH)
    if name != "npu-agent":
        yield name, command.get_help(context).rstrip()
    if isinstance(command, typer.core.TyperGroup):
        for child in command.list_commands(context):
            yield from _helps(command.get_command(context, child), f"{name} {child}")


def fields_of(*structs: type[msgspec.Struct], names: tuple[str, ...] = ()) -> Callable[[], str]:
    """Return what writes a table of the fields of each struct, below the sentence that says what it is."""

    def write() -> str:
        return "\n\n".join(_table(struct, name) for struct, name in zip(structs, names or ("",) * len(structs), strict=True))

    return write


def family_fields() -> str:
    """All that a family can say, each field with its path."""
    rows = [f"| `{path}` | {_description(field.type)} |" for path, field in fields_below(Family)]
    return "\n".join(["| field | meaning |", "|---|---|", *rows])


def fields_below(struct: type[msgspec.Struct], path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the path of every field below the struct, as people write it, and the field."""
    for field in msgspec.structs.fields(struct):
        own = f"{path}{field.encode_name}"
        yield own, field
        inner, is_list = _struct_in(field.type)
        if inner is not None:
            yield from fields_below(inner, f"{own}[]." if is_list else f"{own}.")


def _struct_in(kind: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """Return the struct that a field has, or has a list of."""
    arguments = typing.get_args(kind)
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return (None if kind is Source else kind), False
    if typing.get_origin(kind) is typing.Annotated or _is_union(kind):
        found = [_struct_in(argument) for argument in arguments]
        return next((pair for pair in found if pair[0] is not None), (None, False))
    if typing.get_origin(kind) in (list, tuple):  # a tuple here may be written as its only item
        return _struct_in(arguments[0])[0], typing.get_origin(kind) is list
    return None, False


def _table(struct: type[msgspec.Struct], name: str) -> str:
    rows = [
        f"| `{field.encode_name}` | {_description(field.type)} | {expectation(field.type)} | {_default(field)} |"
        for field in msgspec.structs.fields(struct)
    ]
    about = (struct.__doc__ or "").strip()
    return "\n".join(
        [
            f"`{name}`: {about[0].lower()}{about[1:]}" if name else about,
            "",
            "| field | what it is | values | default |",
            "|---|---|---|---|",
            *rows,
        ]
    )


def shape_of(*structs: type[msgspec.Struct]) -> Callable[[], str]:
    """Return what writes a table of the fields of each struct that is output and so has no defaults."""

    def write() -> str:
        return "\n\n".join(
            "\n".join(
                [
                    f"`{struct.__name__.removesuffix('Shown').lower()}`: {(struct.__doc__ or '').strip()}",
                    "",
                    "| field | values | what it is |",
                    "|---|---|---|",
                    *(
                        f"| `{field.name}` | {expectation(field.type)}{_nullable(field.type)} | {_description(field.type)} |"
                        for field in msgspec.structs.fields(struct)
                    ),
                ]
            )
            for struct in structs
        )

    return write


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (types.UnionType, typing.Union)


def _description(kind: Any) -> str:
    for option in typing.get_args(kind) if _is_union(kind) else (kind,):
        if typing.get_origin(option) is typing.Annotated:
            for extra in typing.get_args(option)[1:]:
                if isinstance(extra, msgspec.Meta) and extra.description:
                    return extra.description
            return _description(typing.get_args(option)[0])
    return ""


def _nullable(kind: Any) -> str:
    return " or null" if _is_union(kind) and types.NoneType in typing.get_args(kind) else ""


def _default(field: Any) -> str:
    if field.required:
        return "must be there"
    default = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if default is None or default in ("", [], {}, ()) or isinstance(default, msgspec.Struct):
        return ""
    shown = json.dumps(msgspec.to_builtins(default))
    return f"`{shown}`" if len(shown) <= WIDTH else "[below](#the-defaults)"


def fake_commands() -> str:
    """What can happen to a fake card."""
    rows = [f"| `npu-agent fake {name} {command.arguments}` | {command.carry_out.__doc__} |" for name, command in FAKE_COMMANDS.items()]
    return "\n".join(["| command | what happens |", "|---|---|", *rows])


def defaults() -> str:
    """The default configuration as YAML."""
    return f"```yaml\n{dump(config.to_data(config.DEFAULT))}```"


WRONG = """\
resources:
  - name: npu
    select: {familes: rngd}
    replicas: 0
probe_interval_s: often
"""


def mistakes() -> str:
    """A wrong configuration and what is said of it."""
    try:
        parse(WRONG, "agent.yaml")
    except ConfigurationError as error:
        return f"```yaml\n{WRONG}```\n\n```console\n$ npu-agent config check agent.yaml\nnpu-agent: {error}\n```"
    raise AssertionError("the wrong configuration is right")


def labels_of_every_family() -> str:
    """The agent's own labels."""
    rows = [f"| `{PREFIX}/count` | cards of all families together | |", f"| `{PREFIX}/families` | the families, joined with `_` | |"]
    for rule in model_line.GENERIC:
        keys = _keys([f"{PREFIX}/FAMILY.{key}" for key in rule.keys], split=rule.split)
        rows.append(f"| {keys} | {FACTS_IN_WORDS[rule.fact]} | {MIXED_IN_WORDS[rule.mixed]} |")
    rows.append(f"| `{PREFIX}/FAMILY.ATTRIBUTE` | each of the attributes that the family names | {MIXED_IN_WORDS['omit']} |")
    return "\n".join(["| label | what it says | where cards of the family differ |", "|---|---|---|", *rows])


def labels_of_families() -> str:
    """The labels that each family adds, with those of a node with two such cards."""
    texts = []
    for name in shipped_names():
        family = read_shipped(name)
        product = family.product
        facts = f"product {product.name}, architecture {product.architecture}, {product.memory_gib} GiB, {product.cores} cores"
        rows = []
        for rule in family.node_labels:
            keys = _keys(rule.keys, split=rule.split)
            rows.append(f"| {keys} | {FACTS_IN_WORDS[rule.fact]} | {MIXED_IN_WORDS[rule.mixed]} |")
        head = ["| label | what it says | where cards of the node differ |", "|---|---|---|"]
        texts.append("\n".join([f"### {name}", "", f"By its data sheet: {facts}.", "", *head, *rows]))
    return "\n\n".join(texts)


def labels_of_a_node() -> str:
    """What a node with two RNGD says."""
    family = read_shipped("rngd")
    cards = [
        Accelerator(
            id=f"82540B87-1055-48C6-AAB1-00000000000{index}",
            backend="sysfs",
            family="rngd",
            name=f"npu{index}",
            numa_node=index,
            driver="2026.3.1, 0abcdef",
            firmware="2026.1.0+696efad",
            attributes=(("board-revision", "BD_REV_1"),),
            model_line=model_line.ModelLine(family.product, tuple(family.node_labels)),
        )
        for index in range(2)
    ]
    described = describe({card.id: Tracked(replace(card, parts=parts_of(card, family)), Health(True, "", 0)) for card in cards})
    labels = [f"{key}={value}" for key, value in sorted(described.labels.items())]
    annotations = [f"{key}: {value}" for key, value in sorted(described.annotations.items())]
    return "\n".join(
        ["```text", "Labels:", *(f"  {label}" for label in labels), "Annotations:", *(f"  {text}" for text in annotations), "```"]
    )


def _keys(keys: Sequence[str], *, split: bool) -> str:
    parts = f", and with `.{'`, `.'.join(VERSION_PARTS)}`" if split else ""
    return ", ".join(f"`{key}`" for key in keys) + parts


FACTS_IN_WORDS = {
    "family": "the family",
    "product": "the product, by its data sheet",
    "architecture": "the architecture, by its data sheet",
    "memory-gib": "GiB of memory of one card, by its data sheet",
    "cores": "cores of one card, by its data sheet",
    "count": "the number of cards",
    "driver": "the driver's version",
    "firmware": "the firmware's version",
    "ids": "the ids of the cards, joined with `_`; if that is longer than 63 characters, an annotation has them, joined with commas",
    "numa-nodes": "the NUMA nodes of the cards, joined with `_`",
    "partitions": "the kinds of parts that a card can be divided into, joined with `_`",
}
MIXED_IN_WORDS = {"omit": "it is left out", "sum": "they are added up", "join": "all are told"}

PARTS: dict[str, Callable[[], str]] = {
    "commands": commands,
    "configuration": fields_of(config.Settings),
    "resources": fields_of(selection.ResourceSpec),
    "labels": labels_of_every_family,
    "labels-of-families": labels_of_families,
    "labels-of-a-node": labels_of_a_node,
    "cluster": fields_of(cluster.ClusterSettings, cluster.NodeTaint, names=("cluster", "taint")),
    "cdi": fields_of(cdi.CdiSettings, names=("cdi",)),
    "family": family_fields,
    "piece": fields_of(Source),
    "selectors": fields_of(selection.Selector),
    "fake": fields_of(fake_cards.Options, fake_cards.Card, names=("fake", "accelerators[]")),
    "fake-commands": fake_commands,
    "sysfs": fields_of(sysfs_options.Options, names=("sysfs",)),
    "defaults": defaults,
    "mistakes": mistakes,
    "listing": shape_of(
        listing.Listing,
        listing.ResourceShown,
        listing.RegistrationShown,
        listing.AcceleratorShown,
        listing.DeviceShown,
        listing.HolderShown,
    ),
}

if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS)
