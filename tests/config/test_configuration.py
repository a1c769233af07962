"""Configurations: the defaults, what fields mean, and every mistake named at once with its line, its path and what is expected."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npu_agent.config.configuration import DEFAULT, Configuration, ConfigurationError, load, parse, partition_mistakes, to_data
from npu_agent.core.selection import ResourceSpec, Selector
from npu_agent.schema.document import dump


def mistakes(text: str) -> list[str]:
    with pytest.raises(ConfigurationError) as refused:
        parse(text, "agent.yaml")
    return str(refused.value).splitlines()


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "exclude: {}", "resources:\n"])
def test_what_a_file_does_not_say_is_the_default(text: str) -> None:
    assert parse(text, "agent.yaml") == DEFAULT == Configuration()


def test_without_a_file_furiosa_cards_are_one_resource() -> None:
    assert DEFAULT.backends == {"sysfs": {}}
    assert DEFAULT.resources == (ResourceSpec("furiosa.ai/npu", Selector(families=("warboy", "rngd"))),)


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
      pci_addresses: 0000:6d:00.0
      locations: numa1
      numa_nodes: [0, 1]
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
        pci_addresses=("0000:6d:00.0",),
        locations=("numa1",),
        numa_nodes=(0, 1),
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
        ("resources: [{name: a/b, policy: tight}]", 'agent.yaml: line 1: resources[0].policy: expected "packed" or "spread", got "tight"'),
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
        ("recover_after: 1.5", "agent.yaml: line 1: recover_after: expected an integer from 1 to 1000, got 1.5"),
        ("probe_interval_s: 1e999", "agent.yaml: line 1: probe_interval_s: expected a number from 0.05 to 3600, got Infinity"),
        ("fail_on_no_device: yes", 'agent.yaml: line 1: fail_on_no_device: expected true or false, got "yes"'),
        ("42: 1", 'agent.yaml: line 1: ["42"]: is not a known field; there are backends, resources, exclude, probe_interval_s,'),
    ],
)
def test_a_mistake_is_told_with_its_path_and_what_is_expected(text: str, mistake: str) -> None:
    (told,) = mistakes(text)
    assert told.startswith(mistake)


def test_two_resources_of_one_name_are_refused() -> None:
    (told,) = mistakes("resources:\n- name: a/b\n- name: a/b\n")
    assert told.startswith('agent.yaml: line 3: resources[1].name: "a/b" is already the name of resources[0]; kubelet knows one pool')


def test_a_partition_that_no_family_has_is_told_with_those_there_are() -> None:
    configuration = parse("resources:\n- {name: a/b, partition: 2core}\n- name: a/c\n  partition: 9core\n", "agent.yaml")
    (mistake,) = partition_mistakes(configuration, {"rngd": ["2core", "4core"]})
    assert str(configuration.error([mistake])) == (
        'agent.yaml: line 4: resources[1].partition: no family has parts of the kind "9core"; there are 2core, 4core'
    )
    assert len(partition_mistakes(configuration, {})) == 2


def test_a_file_that_cannot_be_read_is_told_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\x80")
    for name, said in (
        ("missing", "cannot be read: No such file or directory"),
        ("binary", "line 1: is not text in UTF-8"),
        (".", "is not a file"),
    ):
        with pytest.raises(ConfigurationError) as refused:
            load(tmp_path / name)
        assert str(refused.value).startswith(f"{tmp_path / name}: {said}")


def test_a_file_is_loaded_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("recover_after: 7")
    loaded = load(tmp_path / "agent.yaml")
    assert (loaded.recover_after, loaded.place) == (7, str(tmp_path / "agent.yaml"))


PATTERNS = st.lists(st.text(min_size=1), min_size=1, max_size=3).map(tuple) | st.just(())
SELECTORS = st.builds(
    Selector,
    backends=PATTERNS,
    families=PATTERNS,
    ids=PATTERNS,
    pci_addresses=PATTERNS,
    locations=PATTERNS,
    numa_nodes=st.lists(st.integers(0, 1000), max_size=3).map(tuple),
)
NAMES = st.from_regex(r"[a-z0-9]{1,9}\.ai/[A-Za-z0-9]{1,20}", fullmatch=True)
SPECS = st.builds(ResourceSpec, NAMES, SELECTORS, st.text(), st.integers(1, 1000), st.sampled_from(["packed", "spread"]))
CONFIGURATIONS = st.builds(
    Configuration,
    backends=st.dictionaries(st.text(), st.dictionaries(st.text(), st.integers(-9, 9) | st.text())),
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


@given(st.text() | st.lists(PIECES, max_size=30).map("".join) | DATA.map(dump))
def test_any_text_is_a_configuration_or_one_error(text: str) -> None:
    found = outcome(lambda: parse(text, "agent.yaml"))
    assert isinstance(found, Configuration) or all(mistake.message for mistake in found.mistakes)


@given(content=st.binary(max_size=200))
def test_any_file_is_a_configuration_or_one_error(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.getbasetemp() / "agent.yaml"
    path.write_bytes(content)
    found = outcome(lambda: load(path))
    assert isinstance(found, Configuration) or str(found).startswith(str(path))
