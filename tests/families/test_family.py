"""Family descriptions: the shipped ones, and what is said of one that is wrong."""

import os
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npu_agent.core.errors import USAGE
from npu_agent.families.errors import FamilyError
from npu_agent.families.family import Family
from npu_agent.families.reading import MAX_FILES, parse, read_folder, read_shipped, shipped_names

SMALL = """
name: small
class:
  folder: small
  entries: small{index}
nodes:
  - path: /dev/small{index}
"""

WHOLE = """
name: whole
pci:
  vendor: "0x1da3"
  devices: ["0x1020"]
class:
  folder: accel
  entries: accel{index}
  guards:
    device/vendor: ["0x1da3"]
health:
  - attribute: device/status
    healthy: [operational, Operational]
nodes:
  - path: /dev/accel/accel{index}
  - path: /dev/accel/core{index}-{each}
    each: ["0", "1"]
    divided: true
partitions:
  core:
    c0: ["0"]
    c1: ["1"]
labels:
  module: device/module_id
mounts:
  - host_path: /usr/lib/vendor
environment:
  VISIBLE: "{index}"
annotations:
  example.com/card: "{serial}"
cdi_devices: ["example.com/whole={index}"]
product: {name: whole, memory_gib: 96, cores: 2}
node_labels:
  - {fact: count, keys: example.com/count, mixed: sum}
  - {fact: module, keys: [example.com/module, module]}
"""


def mistakes_of(text: str) -> str:
    with pytest.raises(FamilyError) as caught:
        parse(text, "own.yaml")
    return str(caught.value)


def test_the_families_that_ship_are_right() -> None:
    assert shipped_names() == ["rngd", "warboy"]
    assert [read_shipped(name).name for name in shipped_names()] == shipped_names()


def test_a_family_needs_few_fields() -> None:
    family = parse(SMALL, "own.yaml")
    assert (family.name, family.entries[0].folder, family.nodes[0].required) == ("small", "small", True)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("name: whole", "name: Whole Card", "line 2: name: expected small letters, digits, '-' and '.', got \"Whole Card\""),
        ("name: whole", "", "own.yaml: name: is missing; expected a text"),
        ('vendor: "0x1da3"', "vendor: 1234", "line 4: pci.vendor: expected a text, got 1234; put it in quotes to make it a text"),
        ('vendor: "0x1da3"', "vendor: 1da3", 'pci.vendor: expected a PCI id such as 0x1ed2, got "1da3"'),
        ('["0x1020"]', "[]", "line 5: pci.devices: expected at least one value, got none"),
        ("entries: accel{index}", "entries: accel", 'line 8: class.entries: expected a name with {index} in it once, got "accel"'),
        ("entries: accel{index}", "entries: a/{index}", 'class.entries: expected the name of a file, got "a/{index}"'),
        ("folder: accel", "folder: ../accel", 'class.folder: expected the name of a file, got "../accel"'),
        ("device/vendor:", "../vendor:", "expected the name of an attribute, or a path below the entry such as device/status"),
        ('device/vendor: ["0x1da3"]', "device/vendor: []", 'class.guards["device/vendor"]: expected at least one value, got none'),
        ("attribute: device/status", "attribute: /etc/passwd", "line 12: health[0].attribute: expected the name of an attribute"),
        ("[operational, Operational]", "[0]", "health[0].healthy[0]: expected a text, got 0; put it in quotes to make it a text"),
        ("[operational, Operational]", "operational", 'health[0].healthy: expected a list, got "operational"'),
        ("healthy: [o", "helthy: [o", "health[0].helthy: is not a known field; did you mean healthy?"),
        ("path: /dev/accel/accel{index}", "path: /sys/x{index}", "line 15: nodes[0].path: expected a path below /dev/"),
        ("path: /dev/accel/accel{index}", "path: /dev/../etc/x", "nodes[0].path: expected an absolute path"),
        ("path: /dev/accel/accel{index}", "path: /dev/x{number}", "{number} is not a placeholder here; there are {index}, {pci_address}"),
        ('each: ["0", "1"]', "", "nodes[1].each: each goes with {each} in the path; give both or neither"),
        ('each: ["0", "1"]', 'each: ["0", "../1"]', "nodes[1].each[1]: expected letters, digits, '.', '_' and '-'"),
        ('each: ["0", "1"]', 'each: ["0", "1"]\n    container_path: /dev/x', "nodes[1].container_path: expected {each} in it too"),
        ("divided: true", "permissions: x", 'nodes[1].permissions: expected some of rwm in this order, got "x"'),
        ("divided: true", "required: maybe", 'nodes[1].required: expected true or false, got "maybe"'),
        ('c1: ["1"]', 'c1: ["7"]', 'line 22: partitions.core.c1[0]: "7" is in the each of no node that is divided'),
        ('c1: ["1"]', "c1: []", "partitions.core.c1: expected at least one value, got none"),
        ('c1: ["1"]', 'c_1: ["1"]', "partitions.core.c_1: expected at most 32 letters, digits and '-'"),
        ('c1: ["1"]', 'c1: ["1"]\n  pair:\n    c0: ["0", "1"]', "partitions.pair.c0: core has a part of this name already"),
        ('c1: ["1"]', 'c1: ["1"]\n  none: {}', "partitions.none: expected at least one part, got none"),
        ('c1: ["1"]', 'c1: ["1"]\n  Big: {b: ["1"]}', "partitions.Big: expected small letters"),
        ("module: device/module_id", "notice: x", "labels.notice: expected small letters, digits, '-' and '.', and not notice"),
        ("host_path: /usr/lib/vendor", "host_path: /usr/{each}", "mounts[0]: {each} is not a placeholder here; there are {index}"),
        ("host_path: /usr/lib/vendor", "host_path: usr", 'mounts[0].host_path: expected an absolute path, got "usr"'),
        ('VISIBLE: "{index}"', 'VIS-IBLE: "1"', "environment.VIS-IBLE: expected the name of a variable"),
        (
            'VISIBLE: "{index}"',
            'VISIBLE: "{each}"',
            "environment.VISIBLE: {each} is not a placeholder here; there are {index}, ",
        ),
        (
            'VISIBLE: "{index}"',
            'VISIBLE: "a\\nb"',
            'line 28: environment.VISIBLE: expected printable characters, at most 4096, got "a\\nb"',
        ),
        ('VISIBLE: "{index}"', 'VISIBLE: "\\e[31m"', 'environment.VISIBLE: expected printable characters, at most 4096, got "\\u001b[31m"'),
        ('VISIBLE: "{index}"', 'VISIBLE: "a\\0"', 'environment.VISIBLE: expected printable characters, at most 4096, got "a\\u0000"'),
        ('card: "{serial}"', 'card: "a\\rb"', 'line 30: annotations["example.com/card"]: expected printable characters'),
        ('card: "{serial}"', "card: '{names}'", 'annotations["example.com/card"]: {names} is not a placeholder here; there are {index}'),
        ("example.com/card", "Example_com/card", 'annotations["Example_com/card"]: expected the name of an annotation'),
        (
            "example.com/whole={index}",
            "whole",
            "line 31: cdi_devices[0]: expected the whole name of a CDI device, such as furiosa.ai/rngd=",
        ),
        ("example.com/whole={index}", "a.b/c={x}", "cdi_devices[0]: {x} is not a placeholder here; there are {index}, {pci_address}"),
        ("example.com/whole={index}", "a.b/c=d\\n", "cdi_devices[0]: expected the whole name of a CDI device"),
        ("memory_gib: 96", "memory_gib: -1", "line 32: product.memory_gib: expected an integer ≥ 0, got -1"),
        ("cores: 2", "core: 2", "product.core: is not a known field; did you mean cores?"),
        ("fact: count", "fact: counts", 'line 34: node_labels[0].fact: "counts" is no fact of such a card; there are family, product'),
        ("fact: module", "fact: modul", "partitions, module"),
        ("fact: module", "mixed: sum, fact: module", "node_labels[1].mixed: only memory-gib, cores, count can be added up, not module"),
        ("mixed: sum", "mixed: add", 'node_labels[0].mixed: expected "omit" or "sum" or "join", got "add"'),
        ("example.com/count", "kubernetes.io/count", "node_labels[0].keys: labels of this domain belong to Kubernetes"),
        ("example.com/count", "example.com/", "node_labels[0].keys: expected NAME or DOMAIN/NAME"),
        ("divided: true", "shared: 1", "nodes[1].shared: expected true or false, got 1"),
        ("/dev/accel/accel{index}", '"/dev/a\\e{index}"', "nodes[0].path: expected an absolute path, got"),
        ("healthy: [o", "unhealthy_: [o", "health[0].unhealthy_: is not a known field; did you mean unhealthy?"),
        ("[operational, Operational]", "[a]\n    at_most: 5", "health[0]: judges in 2 ways (healthy and at_least); make them rules of"),
        ("healthy: [operational, Operational]", "any_case: true", "line 12: health[0]: says nothing of what is healthy; expected healthy,"),
        ("healthy: [operational, Operational]", "at_least: 5\n    at_most: 4", "health[0].at_most: expected a number ≥ 5, which is at_le"),
        ("healthy: [operational, Operational]", "counter: beats", 'health[0].counter: expected "steady" or "beating", got "beats"'),
        ("healthy: [operational, Operational]", "pattern: '(a+)+'", "health[0].pattern: a group with + behind it can take long"),
        ("module: device/module_id", "model: device/module_id", "labels.model: expected small letters, digits"),
        (
            "module: device/module_id",
            "module: {attribute: a, patern: b}",
            "labels.module.patern: is not a known field; did you mean pattern?",
        ),
        ("module: device/module_id", "module: 'device/*x*'", 'labels.module: expected at most one * between two /, got "device/*x*"'),
        ("module: device/module_id", "module: 'x{part}'", "labels.module: {part} is not a placeholder here; there are {index},"),
        (
            "host_path: /usr/lib/vendor",
            "host_path: /usr/*\n    container_path: /x",
            "mounts[0].container_path: what * stands for keeps",
        ),
        ("divided: true", "class: drm", 'nodes[1].class: "drm" is the folder of no class; there are accel'),
        ("path: /dev/accel/accel{index}", "path: /dev/x*", "nodes[0].path: a * is not for nodes; name what is found by `found`"),
        ("labels:", "found: {index: a}\nlabels:", "found.index: expected small letters, digits and '_', and no placeholder that there is"),
        ("labels:", "index: 'x{index}'\nlabels:", "index: {index} is not a placeholder here; there are {pci_address}"),
        ("labels:", "models: [{name: a}]\nlabels:", "models[0]: expected either devices, or attribute and values"),
        (
            "labels:",
            "activity: [{measure: power, attribute: a, unit: C}]\nlabels:",
            "activity[0].unit: power is in W or mW or uW, not C",
        ),
        ("mounts:", "mount:", "mount: is not a known field; did you mean mounts?"),
        ("labels:", "labels: [", "own.yaml: line "),
        ("labels:", "name: again\nlabels:", "name is here a second time; it was on line 2 already"),
    ],
)
def test_a_mistake_is_told_with_its_place(old: str, new: str, said: str) -> None:
    assert old in WHOLE
    assert parse(WHOLE, "own.yaml").name == "whole"
    assert said in mistakes_of(WHOLE.replace(old, new, 1))


def test_all_mistakes_are_told_at_once() -> None:
    text = mistakes_of(WHOLE.replace("required", "x").replace('"0x1020"', "5").replace("healthy:", "well:").replace("accel{index}", "a", 1))
    assert text.startswith("own.yaml has 3 mistakes:\n  line 5: pci.devices[0]")


def test_a_mistake_in_one_section_hides_none_between_the_fields_of_another() -> None:
    text = mistakes_of(
        WHOLE.replace("module: device/module_id", "module: 5").replace('c1: ["1"]', 'c1: ["7"]').replace("VISIBLE", "VIS-IBLE")
    )
    assert [line.split(": ")[1] for line in text.splitlines()[1:]] == ["partitions.core.c1[0]", "labels.module", "environment.VIS-IBLE"]


def test_a_family_that_would_cost_much_is_refused() -> None:
    many = ", ".join(f'"{number}"' for number in range(300))
    assert "nodes: expected at most 256 device nodes, got 301" in mistakes_of(WHOLE.replace('each: ["0", "1"]', f"each: [{many}]"))
    parts = "".join(f'\n    p{number}: ["0"]' for number in range(300))
    assert "partitions: expected at most 256 parts, got 302" in mistakes_of(WHOLE.replace('c1: ["1"]', f'c1: ["1"]{parts}'))


def test_what_a_family_says_of_edits_is_taken() -> None:
    family = parse(
        WHOLE.replace("divided: true", "shared: true", 1).replace('partitions:\n  core:\n    c0: ["0"]\n    c1: ["1"]\n', ""), "own.yaml"
    )
    assert (family.nodes[0].shared, family.nodes[1].shared) == (False, True)
    assert (family.annotations, family.cdi_devices) == ({"example.com/card": "{serial}"}, ["example.com/whole={index}"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: a\nnodes: [{path: /dev/a}]", "class: is missing, and so is pci; expected one of them, or nothing can be found"),
        ("name: a\nnodes: [{path: /dev/a}]\npci: {vendor: '0x1234'}", "pci.name: {index} is of no card without class or index; say index"),
        ("name: a\nnodes: [{path: /dev/a}]\npci: {vendor: '0x1234', name: a}", "pci.name: expected a name with {index} in it, or another"),
        ("name: a\nnodes: [{path: /dev/a}]\nclass: [{folder: a}]", "class[0].entries: is missing; expected a text"),
        ("name: a\nnodes: [{path: /dev/a}]\nclass: {folder: a}", "class.entries: is missing; expected a text"),
        ("name: a\nnodes: [{path: /dev/a}]\nclass: a", 'class: expected a mapping or a list, got "a"'),
    ],
)
def test_a_family_must_say_where_its_cards_are_found(text: str, said: str) -> None:
    assert said in mistakes_of(text)


@pytest.mark.parametrize("text", ["", "# nothing\n", "[]", "just text", "1"])
def test_a_file_that_describes_nothing_is_refused(text: str) -> None:
    assert "own.yaml" in mistakes_of(text)


def test_an_own_family_is_found_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "any-name.yaml").write_text(SMALL)
    (tmp_path / "other.yml").write_text(WHOLE)
    (tmp_path / "README").write_text("not a family")
    (tmp_path / ".half-written.yaml").write_text("name: [")
    assert sorted(read_folder(str(tmp_path))) == ["small", "whole"]


def test_two_files_for_one_family_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SMALL)
    (tmp_path / "b.yaml").write_text(SMALL)
    with pytest.raises(FamilyError, match=r"b\.yaml: name: .*a\.yaml is named \"small\" already"):
        read_folder(str(tmp_path))


def test_what_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(FamilyError, match="nowhere: cannot be read: No such file or directory"):
        read_folder(str(tmp_path / "nowhere"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(FamilyError, match=r"folder\.yaml: is not a file"):
        read_folder(str(tmp_path))
    (tmp_path / "folder.yaml").rmdir()
    (tmp_path / "binary.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(FamilyError, match=r"binary\.yaml: line 1: is not text in UTF-8"):
        read_folder(str(tmp_path))
    (tmp_path / "binary.yaml").unlink()
    (tmp_path / "dangling.yaml").symlink_to("nothing")
    with pytest.raises(FamilyError, match=r"dangling\.yaml: cannot be read"):
        read_folder(str(tmp_path))


def test_mistakes_in_all_files_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SMALL.replace("small", "Small", 1))
    (tmp_path / "b.yaml").write_text(WHOLE.replace("true", "5").replace("0x1020", "x"))
    with pytest.raises(FamilyError) as caught:
        read_folder(str(tmp_path))
    assert [line.removeprefix(f"{tmp_path}/").partition(" expected")[0] for line in caught.value.told] == [
        "a.yaml: line 2: name:",
        "b.yaml: line 5: pci.devices[0]:",
        "b.yaml: line 18: nodes[1].divided:",
    ]
    assert caught.value.exit_status == USAGE


def test_a_folder_that_cannot_be_is_refused_in_one_line() -> None:
    with pytest.raises(FamilyError) as caught:
        read_folder("a\0b")
    assert str(caught.value) == "a\\x00b: cannot be read: there is a NUL in its name"


@pytest.mark.parametrize("name", [b"\x1b[31m.yaml", "\u202e.yaml".encode(), b"\xff\n.yaml"])
def test_the_names_of_files_are_made_printable(tmp_path: Path, name: bytes) -> None:
    path = os.fsencode(tmp_path) + b"/" + name
    with open(path, "w") as file:  # noqa: PTH123 - a name in bytes
        file.write("[")
    with pytest.raises(FamilyError) as caught:
        read_folder(str(tmp_path))
    assert str(caught.value).isprintable()
    assert all(said.isprintable() for said in caught.value.told)


def test_a_folder_with_too_much_in_it_is_refused(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.yaml").write_text(SMALL.replace("small", f"s{number}") + "#" * 300_000)
    with pytest.raises(FamilyError, match="its descriptions are larger than 1 MiB together"):
        read_folder(str(tmp_path))
    for number in range(MAX_FILES + 1):
        (tmp_path / f"{number}.yaml").write_text("")
    with pytest.raises(FamilyError, match=f"has more than {MAX_FILES} descriptions"):
        read_folder(str(tmp_path))


@pytest.mark.parametrize(
    "text",
    [
        f"? {'k' * (300 << 10)}\n: [{'a,' * 200_000}]",
        "nodes:\n" + "- {}\n" * 19_000,
        WHOLE.replace('each: ["0", "1"]', f"each: [{'x,' * 19_000}]"),
        WHOLE.replace('"{index}"', "{" * 1_000_000),
        SMALL + "environment:\n" + "".join(f"  'a b{number}': x\n" for number in range(19_000)),
    ],
    ids=["key", "nodes", "each", "braces", "environment"],
)
def test_a_description_that_would_cost_much_is_refused_quickly_and_within_little_memory(text: str) -> None:
    begun = time.process_time()
    said = mistakes_of(text)
    assert time.process_time() - begun < 0.5
    assert said.count("\n") <= 21
    tracemalloc.start()
    try:
        mistakes_of(text)
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


def refused_or_right(text: str) -> None:
    try:
        answer: Family | str = parse(text, "own.yaml")
    except FamilyError as error:
        answer = str(error)
    assert isinstance(answer, Family) or (answer.startswith("own.yaml") and all(line.isprintable() for line in answer.split("\n")))


@settings(deadline=None)
@given(st.text())
def test_any_text_is_a_family_or_a_mistake(text: str) -> None:
    refused_or_right(text)


@settings(deadline=None)
@given(st.data())
def test_a_family_with_any_line_changed_is_a_family_or_a_mistake(data: st.DataObject) -> None:
    lines = WHOLE.splitlines()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        value = data.draw(
            st.sampled_from(["", "[]", "{}", "null", "[[1]]", "{a: {b: c}}", "~", "-1", "'{each}'", "'/dev/{index}'", "\x00"])
        )
        lines[at] = data.draw(st.sampled_from(["", lines[at].split(":")[0] + ": " + value, lines[at] + value, value]))
    refused_or_right("\n".join(lines))
