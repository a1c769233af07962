"""What resources select, against what the configured backends know."""

import pytest

from npu_agent.config.configuration import DEFAULT, Configuration
from npu_agent.config.reading import parse
from npu_agent.config.selections import Kinds, selection_mistakes

KNOWN: dict[str, Kinds] = {"sysfs": {"rngd": ["1core", "2core", "4core"], "warboy": ["1core"]}, "fake": {"unreal": []}}


def mistakes(text: str, known: dict[str, Kinds] = KNOWN) -> list[str]:
    return [str(mistake) for mistake in selection_mistakes(parse(text, "agent.yaml"), known)]


def resource(fields: str) -> str:
    return f"resources: [{{name: a/b, {fields}}}]"


@pytest.mark.parametrize(
    "text",
    [
        "",
        resource("select: {families: rngd}, partition: 2core"),
        resource("select: {families: [rngd, warboy]}, partition: 2core"),
        resource("select: {families: 'r*'}, partition: 4core"),
        resource("select: {families: unreal, backends: fake}"),
        resource("select: {backends: 'sys*', numa_nodes: 77}, partition: 1core"),
        resource("partition: 4core"),
        "exclude: {families: warboy, ids: whatever}",
    ],
)
def test_what_the_backends_have_can_be_selected(text: str) -> None:
    assert mistakes(text) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            resource("select: {families: rgnd}"),
            'resources[0].select.families: no configured backend knows the family "rgnd"; did you mean rngd?',
        ),
        (
            resource("select: {families: [rngd, 'x*']}"),
            'resources[0].select.families[1]: no configured backend knows the family "x*"; there are rngd, warboy, unreal',
        ),
        (
            resource("select: {families: rngd, backends: fake}"),
            'resources[0].select.families: no configured backend knows the family "rngd"; there is unreal',
        ),
        (
            resource("select: {backends: sisfs}"),
            'resources[0].select.backends: no configured backend is called "sisfs"; did you mean sysfs?',
        ),
        ("exclude: {families: rgnd}", 'exclude.families: no configured backend knows the family "rgnd"; did you mean rngd?'),
        (
            resource("select: {families: warboy}, partition: 2core"),
            'resources[0].partition: the family warboy has no parts of the kind "2core"; there is 1core',
        ),
        (
            resource("select: {families: [warboy, unreal]}, partition: 9cores"),
            'resources[0].partition: none of the families warboy, unreal has parts of the kind "9cores"; there is 1core',
        ),
        (resource("partition: half"), 'resources[0].partition: no family has parts of the kind "half"; there are 1core, 2core, 4core'),
        (
            resource("select: {backends: fake}, partition: half"),
            'resources[0].partition: the family unreal has no parts of the kind "half"; there are none',
        ),
    ],
)
def test_what_can_match_nothing_is_a_mistake(text: str, said: str) -> None:
    assert mistakes(text) == [said]


def test_every_one_of_several_is_told() -> None:
    text = "resources: [{name: a/b, select: {families: rgnd}}, {name: a/c, partition: half}]\nexclude: {backends: nope, families: x}"
    assert [said.partition(":")[0] for said in mistakes(text)] == [
        "resources[0].select.families",
        "exclude.backends",
        "resources[1].partition",
    ]


def test_families_of_a_backend_that_does_not_say_its_own_cannot_be_known() -> None:
    known: dict[str, Kinds] = {"acme": {}, "sysfs": {"rngd": ["2core"]}}
    assert mistakes(resource("select: {families: roadrunner}"), known) == []
    assert len(mistakes(resource("select: {families: roadrunner, backends: sysfs}"), known)) == 1
    assert mistakes(resource("partition: 2core"), {"acme": {}}) == [
        'resources[0].partition: no family has parts of the kind "2core"; the configured backends divide no accelerator'
    ]


def test_the_defaults_and_what_the_command_line_left_need_not_fit() -> None:
    assert selection_mistakes(DEFAULT, {"fake": {"unreal": []}}) == []
    assert selection_mistakes(Configuration(resources=DEFAULT.resources), {"fake": {"unreal": []}}) == []
    narrowed = parse(resource("select: {families: rngd, backends: sysfs}, partition: core"), "agent.yaml").only(["fake"])
    assert selection_mistakes(narrowed, {"fake": {"unreal": ["core"]}}) == []
    assert len(selection_mistakes(narrowed, {"fake": {"unreal": ["half"]}})) == 1
