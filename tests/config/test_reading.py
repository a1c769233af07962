"""Reading a configuration: the defaults, what fields mean, and every mistake named at once with its line, its path and what is expected."""

import asyncio
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npu_agent.config.configuration import DEFAULT, Configuration, to_data
from npu_agent.config.errors import ConfigurationError
from npu_agent.config.reading import load, parse
from npu_agent.core.errors import USAGE
from npu_agent.core.selection import ResourceSpec, Selector
from npu_agent.schema.document import dump


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        parse(text, "agent.yaml")
    assert refused.value.exit_status == USAGE
    return str(refused.value).splitlines()


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "exclude: {}", "resources:\n", "backends:\nexclude:\n"])
def test_what_a_file_does_not_say_is_the_default(text: str) -> None:
    assert parse(text, "agent.yaml") == DEFAULT == Configuration()


def test_every_field_is_taken_as_written() -> None:
    text = """
backends:
  fake: {accelerators: 3}
  sysfs:
resources:
  - name: furiosa.ai/rngd
    select:
      backends: fake
      families: [rngd, "rngd-*"]
      ids: fake-0
      uuids: [09ab, 09ac]
      serials: SN1
      names: npu0
      pci_addresses: 0000:6d:00.0
      locations: numa1
      numa_nodes: [0, 1]
      attributes: {module: ["3", "4"], board-revision: A*}
    partition: 2core
    replicas: 4
    policy: spread
  - name: furiosa.ai/all
exclude: {numa_nodes: 3}
probe_interval_s: 0.5
probe_timeout_s: 1
scan_interval_s: 10
recover_after: 5
vanished_linger_s: 0
fail_on_no_device: true
"""
    selector = Selector(
        backends=("fake",),
        families=("rngd", "rngd-*"),
        ids=("fake-0",),
        uuids=("09ab", "09ac"),
        serials=("SN1",),
        names=("npu0",),
        pci_addresses=("0000:6d:00.0",),
        locations=("numa1",),
        numa_nodes=(0, 1),
        attributes={"module": ("3", "4"), "board-revision": ("A*",)},
    )
    assert parse(text, "agent.yaml") == Configuration(
        backends={"fake": {"accelerators": 3}, "sysfs": {}},
        resources=(ResourceSpec("furiosa.ai/rngd", selector, "2core", 4, "spread"), ResourceSpec("furiosa.ai/all")),
        exclude=Selector(numa_nodes=(3,)),
        probe_interval_s=0.5,
        probe_timeout_s=1,
        scan_interval_s=10,
        recover_after=5,
        vanished_linger_s=0,
        fail_on_no_device=True,
    )


def test_three_mistakes_are_named_at_once() -> None:
    text = """
resources:
  - name: npu
    select: {familes: rngd}
probe_interval_s: -1
"""
    assert mistakes(text) == [
        "agent.yaml has 3 mistakes:",
        '  line 3: resources[0].name: expected DOMAIN/NAME, such as furiosa.ai/npu, got "npu"; without a domain it is a resource of'
        " Kubernetes itself",
        "  line 4: resources[0].select.familes: is not a known field; did you mean families?",
        "  line 5: probe_interval_s: expected a number from 0.05 to 3600, got -1",
    ]


def test_of_many_mistakes_the_first_20_are_told_and_how_many_more() -> None:
    told = mistakes("resources:\n" + "- {}\n" * 10_000)
    assert told[0] == "agent.yaml has 10000 mistakes:"
    assert (len(told), told[-1]) == (22, "  and 9980 more")


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("- 1", "agent.yaml: expected a mapping, got a list"),
        ("a: [", "agent.yaml: line 2: is not YAML: did not find expected node content (column 1)"),
        ("backends: fake", 'agent.yaml: line 1: backends: expected a mapping, got "fake"'),
        ("backends: {fake: 3}", "agent.yaml: line 1: backends.fake: expected a mapping, got 3"),
        ("resources: {name: a/b}", "agent.yaml: line 1: resources: expected a list, got a mapping"),
        ("resources: [{}]", "agent.yaml: line 1: resources[0].name: is missing; expected a text"),
        ("resources: [{name: 3}]", "agent.yaml: line 1: resources[0].name: expected a text, got 3; put it in quotes to make it a text"),
        (
            "resources: [{name: a/b, policy: tight}]",
            'agent.yaml: line 1: resources[0].policy: expected "packed" or "spread" or "apart", got "tight"',
        ),
        ("resources: [{name: a/b, replicas: 0}]", "agent.yaml: line 1: resources[0].replicas: expected an integer from 1 to 1000, got 0"),
        (
            "resources: [{name: a/b, replicas: true}]",
            "agent.yaml: line 1: resources[0].replicas: expected an integer from 1 to 1000, got true",
        ),
        (
            "resources: [{name: a/b, select: {numa_nodes: -1}}]",
            "agent.yaml: line 1: resources[0].select.numa_nodes: expected an integer ≥ 0 or a list, got -1",
        ),
        ("exclude: {ids: []}", "agent.yaml: line 1: exclude.ids: expected a text or a list of texts, none of them empty"),
        ("exclude: {ids: ['']}", "agent.yaml: line 1: exclude.ids: expected a text or a list of texts, none of them empty"),
        ("exclude: {attributes: {a: 3}}", "agent.yaml: line 1: exclude.attributes.a: expected a text or a list, got 3; put it in quotes"),
        (f"exclude: {{ids: [{'a,' * 257}]}}", "agent.yaml: line 1: exclude.ids: expected at most 256 texts of at most 1024 characters"),
        (f"exclude: {{ids: {'a' * 1025}}}", "agent.yaml: line 1: exclude.ids: expected at most 256 texts of at most 1024 characters"),
        ("exclude: {numa_nodes: []}", "agent.yaml: line 1: exclude.numa_nodes: expected a number or a list of numbers, got an empty list"),
        (
            "resources:\n" + "".join(f"- name: a/b{number}\n" for number in range(257)),
            "agent.yaml: line 1: resources: expected at most 256 resources, got 257",
        ),
        (
            f"resources: [{{name: a/b, select: {{ids: [{'a*,' * 200}], uuids: [{'b?,' * 57}]}}}}]",
            "agent.yaml: line 1: resources: expected at most 256 texts with wildcards in all resources, got 257",
        ),
        (
            "backends:\n" + "".join(f"  b{number}:\n" for number in range(17)),
            "agent.yaml: line 1: backends: expected at most 16 backends, got 17",
        ),
        (
            f"resources: [{{name: {'a' * 400}}}]",
            f'agent.yaml: line 1: resources[0].name: expected DOMAIN/NAME, such as furiosa.ai/npu, got "{"a" * 299}…";',
        ),
        ("recover_after: 1.5", "agent.yaml: line 1: recover_after: expected an integer from 1 to 1000, got 1.5"),
        ("probe_interval_s: 1e999", "agent.yaml: line 1: probe_interval_s: expected a number from 0.05 to 3600, got Infinity"),
        ("fail_on_no_device: yes", 'agent.yaml: line 1: fail_on_no_device: expected true or false, got "yes"'),
        ("42: 1", 'agent.yaml: line 1: ["42"]: is not a known field; there are backends, resources, exclude, probe_interval_s,'),
        ('"\\e[31mred\\u202e": 1', 'agent.yaml: line 1: ["\\u001b[31mred\\u202e"]: is not a known field'),
        ('recover_after: "\\x9b31m"', 'agent.yaml: line 1: recover_after: expected an integer from 1 to 1000, got "\\x9b31m"'),
        ('resources: [{name: "a\\e[31m/b"}]', 'agent.yaml: line 1: resources[0].name: "a\\x1b[31m" is not a domain'),
    ],
)
def test_a_mistake_is_told_with_its_path_and_what_is_expected(text: str, mistake: str) -> None:
    (told,) = mistakes(text)
    assert told.startswith(mistake)


def test_two_resources_of_one_name_are_refused_beside_other_mistakes() -> None:
    told = mistakes("resources:\n- name: a/b\n- name: a/b\n  replicas: 0\n")
    assert told[1].startswith('  line 3: resources[1].name: "a/b" is already the name of resources[0]; kubelet knows one pool')
    assert told[2].startswith("  line 4: resources[1].replicas")


def test_what_is_right_beside_a_mistake_is_kept_for_finding_others() -> None:
    with pytest.raises(ConfigurationError) as refused:
        parse("backends: {fake: {accelerators: x}}\nresources: [{name: 3, partition: 9core}]\nrecover_after: 0\n", "agent.yaml")
    right = refused.value.right
    assert right is not None
    assert (right.backends, right.resources[0].partition) == ({"fake": {"accelerators": "x"}}, "9core")
    with pytest.raises(ConfigurationError) as unreadable:
        parse("a: [", "agent.yaml")
    assert unreadable.value.right is None


async def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x80")
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("missing", "cannot be read: No such file or directory"),
        ("binary", "line 1: is not text in UTF-8"),
        ("pipe", "is not a file"),
        (".", "is not a file"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            await load(tmp_path / name)
        assert str(refused.value).startswith(f"{tmp_path / name}: {said}")


async def test_the_name_of_a_file_is_made_printable() -> None:
    with pytest.raises(ConfigurationError) as refused:
        await load("/nowhere/\x1b[31m\n\udcff")
    assert str(refused.value) == "/nowhere/\\x1b[31m\\n\\udcff: cannot be read: No such file or directory"


async def test_a_file_is_loaded_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("recover_after: 7")
    loaded = await load(tmp_path / "agent.yaml")
    assert (loaded.recover_after, loaded.place) == (7, str(tmp_path / "agent.yaml"))


async def test_a_dash_is_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"recover_after: 7")))
    loaded = await load("-")
    assert (loaded.recover_after, loaded.place) == (7, "standard input")
    monkeypatch.setattr(sys, "stdin", None)
    assert await load("-") == DEFAULT


PATTERNS = st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple) | st.just(())
SELECTORS = st.builds(
    Selector,
    backends=PATTERNS,
    families=PATTERNS,
    uuids=PATTERNS,
    pci_addresses=PATTERNS,
    locations=PATTERNS,
    numa_nodes=st.lists(st.integers(0, 1000), max_size=3).map(tuple),
    attributes=st.dictionaries(st.text(max_size=9), PATTERNS.filter(bool), max_size=2),
)
NAMES = st.from_regex(r"[a-z0-9]{1,9}\.ai/[A-Za-z0-9]{1,20}", fullmatch=True)
SPECS = st.builds(ResourceSpec, NAMES, SELECTORS, st.text(), st.integers(1, 1000), st.sampled_from(["packed", "spread", "apart"]))
CONFIGURATIONS = st.builds(
    Configuration,
    backends=st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers(-9, 9) | st.text()), max_size=16),
    resources=st.lists(SPECS, unique_by=lambda spec: spec.name, max_size=3).map(tuple),
    exclude=SELECTORS.filter(lambda selector: selector != Selector()) | st.none(),
    probe_interval_s=st.floats(0.05, 3600),
    recover_after=st.integers(1, 1000),
    fail_on_no_device=st.booleans(),
)


@settings(max_examples=50)
@given(CONFIGURATIONS)
def test_what_config_show_prints_is_read_back_as_the_same_configuration(configuration: Configuration) -> None:
    assert parse(dump(to_data(configuration)), "shown.yaml") == configuration


FIELDS = ["backends", "resources", "name", "select", "exclude", "ids", "numa_nodes", "replicas", "policy", "probe_interval_s", "fake"]
PIECES = st.sampled_from(
    [*FIELDS, ": ", "\n", "  ", "- ", "[", "]", "{", "}", ", ", "'", '"', "|", "&a ", "*a", "!!x ", "? ", "#", "---\n", "1", "a/b", "%"]
)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(["a/b", "packed", "rngd"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4),
    max_leaves=15,
)


def outcome(read: Callable[[], Configuration]) -> Configuration | ConfigurationError:
    try:
        return read()
    except ConfigurationError as error:
        return error


def is_right(found: Configuration | ConfigurationError) -> bool:
    return isinstance(found, Configuration) or all(line.isprintable() for line in str(found).split("\n"))


@given(st.text() | st.lists(PIECES, max_size=30).map("".join) | DATA.map(dump))
def test_any_text_is_a_configuration_or_one_printable_error(text: str) -> None:
    found = outcome(lambda: parse(text, "agent.yaml"))
    assert is_right(found)
    assert isinstance(found, Configuration) or all(mistake.message for mistake in found.mistakes)


@given(content=st.binary(max_size=200))
def test_any_file_is_a_configuration_or_one_printable_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "agent.yaml"
    path.write_bytes(content)
    found = outcome(lambda: asyncio.run(load(path)))
    assert is_right(found)
    assert isinstance(found, Configuration) or str(found).startswith(str(path))


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("{labels: on}", 'cluster.labels: expected "off" or "apply" or "nfd-file" or "node-feature", got "on"'),
        ("{labels: true}", 'cluster.labels: expected "off" or "apply" or "nfd-file" or "node-feature", got true'),
        ("{label: apply}", "cluster.label: is not a known field; did you mean labels?"),
        ("{prefix: node.kubernetes.io}", "cluster.prefix: labels of this domain belong to Kubernetes; use a domain of your own"),
        ("{prefix: a/b}", "cluster.prefix: expected a domain such as npu-agent.io, got 'a/b'"),
        ("{taint: NoSchedule}", 'cluster.taint: expected a mapping, got "NoSchedule"'),
        ("{taint: {effect: NoWay}}", 'cluster.taint.effect: expected "NoSchedule" or "PreferNoSchedule" or "NoExecute", got "NoWay"'),
        ("{taint: {key: -a}}", "cluster.taint.key: expected NAME or DOMAIN/NAME"),
        ("{taint: {value: a b}}", "cluster.taint.value: expected at most 63 letters, digits, '-', '_' and '.', got \"a b\""),
        ("{nfd_folder: features.d}", 'cluster.nfd_folder: expected the whole path of a folder, got "features.d"'),
    ],
)
def test_what_is_wrong_with_the_section_of_the_cluster_is_said(section: str, said: str) -> None:
    [line] = mistakes(f"cluster: {section}")
    assert said in line


def test_a_taint_without_a_field_is_the_default_one_and_an_absent_one_is_none() -> None:
    taint = parse("cluster: {taint: {}}", "agent.yaml").cluster.taint
    assert taint is not None
    assert (taint.key, taint.value, taint.effect) == ("furiosa.ai/npu", "exclusive", "NoSchedule")
    assert parse("cluster: {labels: apply}", "agent.yaml").cluster.taint is None
    assert parse("cluster: {taint: }", "agent.yaml").cluster.taint is None


@pytest.mark.parametrize(
    ("section", "on", "named"),
    [
        ("", False, False),
        ("{prefix: a.b}", False, False),
        ("{labels: off}", False, False),
        ("{labels: nfd-file}", True, False),
        ("{labels: apply}", True, True),
        ("{labels: node-feature}", True, True),
        ("{taint: {}}", True, True),
    ],
)
def test_it_is_known_when_there_is_something_to_tell_and_when_the_node_needs_a_name(section: str, on: bool, named: bool) -> None:
    cluster = parse(f"cluster: {section}", "agent.yaml").cluster
    assert (cluster.is_on, cluster.needs_node_name) == (on, named)
