"""Backends made of a configuration: every mistake in their options, in families and in what is selected, in one go."""

import time
from pathlib import Path

import pytest

from npu_agent.backends import registry
from npu_agent.config.configuration import Configuration
from npu_agent.config.errors import ConfigurationError
from npu_agent.config.reading import parse
from npu_agent.node.making import make_backends, with_mistakes_of_backends
from tests.shelf import Shelf

ROOT = Path("/nowhere")


def mistakes(text: str) -> list[str]:
    """Return what a user is told of `text`, without the name of the file."""
    try:
        configuration = parse(text, "agent.yaml")
    except ConfigurationError as error:
        told = with_mistakes_of_backends(error, ROOT)
    else:
        with pytest.raises(ConfigurationError) as refused:
            make_backends(configuration, ROOT)
        told = refused.value
    first, *others = str(told).splitlines()
    return [line.strip() for line in others] or [first.removeprefix("agent.yaml: ")]


def test_a_wrong_field_hides_no_partition_that_no_family_has() -> None:
    assert mistakes("backends: {fake: }\nresources:\n- name: a/b\n  partition: 3core\nprobe_interval_s: 1s\n") == [
        'line 4: resources[0].partition: no family has parts of the kind "3core"; there are 2core, 4core',
        'line 5: probe_interval_s: expected a number from 0.05 to 3600, got "1s"',
    ]


def test_a_wrong_field_hides_no_mistake_in_the_same_resource() -> None:
    said = mistakes("resources:\n- name: npu\n  policy: tight\n  partition: 3core\n  select: {familes: x, families: rgnd}\n")
    assert [line.split(": ")[1] for line in said] == [
        "resources[0].name",
        "resources[0].policy",
        "resources[0].partition",
        "resources[0].select.familes",
        "resources[0].select.families",
    ]


def test_a_wrong_field_hides_no_mistake_in_the_options_of_backends(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("name: Own\n")
    text = f"""recover_after: 0
backends:
  fake:
    accelerators:
    - numa_node: x
    - count: -1
  sysfs:
    families_folder: {tmp_path}
    healthy: 3
"""
    said = mistakes(text)
    assert [line.partition(" expected")[0].replace(str(tmp_path), "") for line in said] == [
        "line 1: recover_after:",
        "line 5: backends.fake.accelerators[0].numa_node:",
        "line 6: backends.fake.accelerators[1].count:",
        "line 8: backends.sysfs.families_folder: /own.yaml: nodes: is missing;",
        "line 8: backends.sysfs.families_folder: /own.yaml: class: is missing, and so is pci;",
        "line 8: backends.sysfs.families_folder: /own.yaml: line 1: name:",
        "line 9: backends.sysfs.healthy:",
    ]


def test_what_backends_know_is_not_believed_where_they_are_wrong() -> None:
    assert mistakes("backends: {fake: {accelerators: x}}\nresources: [{name: a/b, select: {families: other}, partition: half}]\n") == [
        'line 1: backends.fake.accelerators: expected an integer from 0 to 10000 or a list, got "x"'
    ]
    assert mistakes("backends: fake\nresources: [{name: a/b, select: {families: other}}]\n") == [
        'line 1: backends: expected a mapping, got "fake"'
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "resources: [{name: a/b, select: {families: rgnd}}]",
            'families: no configured backend knows the family "rgnd"; did you mean rngd?',
        ),
        (
            "resources: [{name: a/b, select: {families: warboy}, partition: 2core}]",
            'partition: the family warboy has no parts of the kind "2core"; there is 1core',
        ),
        ("resources: [{name: a/b, select: {backends: sisfs}}]", 'backends: no configured backend is called "sisfs"; did you mean sysfs?'),
        ("exclude: {families: 'x*'}", 'exclude.families: no configured backend knows the family "x*"; there are rngd, warboy'),
        ('backends: {sysfs: {families_folder: "a\\0b"}}', "families_folder: a\\x00b: cannot be read: there is a NUL in its name"),
    ],
)
def test_what_can_match_nothing_is_a_mistake(text: str, said: str) -> None:
    (told,) = mistakes(text)
    assert told.endswith(said)


@pytest.mark.parametrize(
    "text",
    [
        "resources:\n" + "".join(f"- {{name: a/b{one}, select: {{families: ['{one}*', '?{one}', '[{one}]']}}}}\n" for one in range(250)),
        f"backends: {{fake: {{accelerators: [{'{count: 10000},' * 9_000}]}}}}",
        f"backends: {{fake: {{accelerators: [{{nodes: [{'x{part},' * 9_000}], partitions: {{a: [{'b,' * 9_000}]}}}}]}}}}".replace(
            "x{part}", "'x{part}'"
        ),
        f"backends: {{sysfs: {{families: [{'x,' * 19_000}], healthy: {{x: {{}}}}}}}}",
    ],
    ids=["patterns", "cards", "nodes of parts", "families"],
)
def test_what_backends_would_make_of_a_document_at_much_cost_is_refused_quickly(text: str) -> None:
    begun = time.process_time()
    assert mistakes(text)
    assert time.process_time() - begun < 0.5


def test_own_families_and_those_of_fake_cards_are_known(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("name: own\nclass: {folder: own, entries: 'own{index}'}\nnodes: [{path: '/dev/own{index}'}]\n")
    text = f"""
backends:
  sysfs: {{families_folder: {tmp_path}}}
  fake: {{accelerators: [{{family: unreal, partitions: {{half: [a, b]}}}}]}}
resources:
- {{name: a/own, select: {{families: own}}}}
- {{name: a/half, select: {{families: unreal}}, partition: half}}
"""
    assert list(make_backends(parse(text, "agent.yaml"), ROOT)) == ["sysfs", "fake"]


def test_a_backend_whose_making_fails_by_itself_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    create = registry.create

    def creating(name: str, *given: object, **named: object) -> object:
        if name == "broken":
            raise ZeroDivisionError
        return Shelf() if name == "shelf" else create(name, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "create", creating)
    configuration = parse("backends: {broken: {}, shelf: {}}\nresources: [{name: a/b, select: {families: roadrunner}}]", "agent.yaml")
    assert list(make_backends(configuration, ROOT)) == ["shelf"]


def test_thousands_of_backends_are_refused_without_looking_for_them() -> None:
    text = "backends:\n" + "".join(f"  b{number}: {{}}\n" for number in range(9_000))
    assert mistakes(text) == ["line 1: backends: expected at most 16 backends, got 9000"]


def test_a_default_configuration_is_made() -> None:
    assert list(make_backends(Configuration(), ROOT)) == ["sysfs"]
