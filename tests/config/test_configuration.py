"""The configuration as a value: its defaults, its data, and mistakes that are found later."""

from npu_agent.config.configuration import DEFAULT, Configuration, to_data
from npu_agent.config.reading import parse
from npu_agent.core.selection import ResourceSpec, Selector
from npu_agent.schema.mistakes import Mistake


def test_without_a_file_furiosa_cards_are_one_resource() -> None:
    assert DEFAULT.backends == {"sysfs": {}}
    assert DEFAULT.resources == (ResourceSpec("furiosa.ai/npu", Selector(families=("warboy", "rngd"))),)


def test_where_it_was_read_says_nothing_of_what_it_means() -> None:
    one, other = parse("recover_after: 3", "one.yaml"), parse("\nrecover_after: 3", "other.yaml")
    assert one == other == Configuration()
    assert (one.place, other.place, DEFAULT.place) == ("one.yaml", "other.yaml", "the default configuration")


def test_a_mistake_that_is_found_later_is_told_with_its_line() -> None:
    configuration = parse("recover_after: 3\nbackends:\n  fake: {}\n", "agent.yaml")
    assert str(configuration.error([Mistake("backends.fake.x", "is wrong")])) == "agent.yaml: line 3: backends.fake.x: is wrong"
    assert str(DEFAULT.error([Mistake("backends", "is wrong")])) == "the default configuration: backends: is wrong"


def test_one_backend_alone_has_the_options_of_the_file() -> None:
    configuration = parse("backends: {fake: {accelerators: 3}, sysfs: {}}\nrecover_after: 7\n", "agent.yaml")
    alone = configuration.only(["fake"])
    assert (alone.backends, alone.recover_after, alone.place) == ({"fake": {"accelerators": 3}}, 7, "agent.yaml")
    assert DEFAULT.only(["fake"]).backends == {"fake": {}}


def test_its_data_says_all_of_it() -> None:
    data = to_data(parse("resources: [{name: a/b, select: {ids: x}}]\nexclude: {attributes: {module: '3'}}", "agent.yaml"))
    assert data["resources"] == [{"name": "a/b", "select": {"ids": ["x"]}, "partition": "", "replicas": 1, "policy": "packed"}]
    assert data["exclude"] == {"attributes": {"module": ["3"]}}
    assert to_data(DEFAULT)["exclude"] == {}
    assert list(to_data(DEFAULT))[:3] == ["backends", "resources", "exclude"]
