"""Data into structs: what is taken, what is said of the rest, and what is left of a value with mistakes."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from npu_agent.core.rules import ONE_OR_MANY, Check
from npu_agent.schema.fields import expectation, read, read_what_is_right


def even(number: int) -> str:
    return "" if number % 2 == 0 else "expected an even number"


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One of them."""

    name: str
    size: Annotated[int, Check(even)] = 2
    kind: Literal["a", "b"] = "a"


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    items: tuple[Item, ...] = (Item(name="default"),)
    texts: Annotated[tuple[str, ...], ONE_OR_MANY] = ()
    numbers: Annotated[tuple[Annotated[int, Meta(ge=0)], ...], ONE_OR_MANY] = ()
    options: Mapping[str, Mapping[str, Any]] = msgspec.field(default_factory=lambda: {"x": {}})
    either: int | list[Item] = 1
    maybe: Item | None = None
    seconds: Annotated[float, Meta(gt=0, le=9)] = 1.0


def mistakes_of(data: object) -> list[str]:
    value, mistakes = read(data, Whole)
    assert (value is None) == bool(mistakes)
    return [str(mistake) for mistake in mistakes]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ({}, Whole()),
        (None, Whole()),
        ({"items": None, "texts": None, "options": None}, Whole()),
        ({"items": [], "options": {}}, Whole(items=(), options={})),
        ({"texts": "a"}, Whole(texts=("a",))),
        ({"texts": ["a", "b"]}, Whole(texts=("a", "b"))),
        ({"numbers": 3}, Whole(numbers=(3,))),
        ({"options": {"y": None, "z": {"deep": [{}]}}}, Whole(options={"y": {}, "z": {"deep": [{}]}})),
        ({"either": [{"name": "n"}], "maybe": {"name": "m"}}, Whole(either=[Item(name="n")], maybe=Item(name="m"))),
        ({"maybe": None, "seconds": 3}, Whole(seconds=3.0)),
    ],
)
def test_what_is_right_becomes_a_struct(data: object, value: Whole) -> None:
    assert read(data, Whole) == (value, [])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (5, ["expected a mapping, got 5"]),
        ({"itemz": 1}, ["itemz: is not a known field; did you mean items?"]),
        ({"items": [{}]}, ["items[0].name: is missing; expected a text"]),
        (
            {"items": [{"name": 1, "size": 3}]},
            ["items[0].name: expected a text, got 1; put it in quotes to make it a text", "items[0].size: expected an even number"],
        ),
        ({"items": [{"name": "", "kind": "c"}, 7]}, ['items[0].kind: expected "a" or "b", got "c"', "items[1]: expected a mapping, got 7"]),
        ({"texts": 1}, ["texts: expected a text or a list, got 1; put it in quotes to make it a text"]),
        ({"texts": ["a", 1]}, ["texts[1]: expected a text, got 1; put it in quotes to make it a text"]),
        ({"numbers": -1}, ["numbers: expected an integer ≥ 0 or a list, got -1"]),
        ({"numbers": {}}, ["numbers: expected an integer ≥ 0 or a list, got a mapping"]),
        ({"options": {"x": 3}}, ["options.x: expected a mapping, got 3"]),
        ({"either": "x"}, ['either: expected an integer or a list, got "x"']),
        ({"maybe": 1}, ["maybe: expected a mapping, got 1"]),
        ({"seconds": 0}, ["seconds: expected a number > 0 and ≤ 9, got 0"]),
        ({"seconds": None}, ["seconds: expected a number > 0 and ≤ 9, got nothing"]),
        (
            {"a b": {}, "seconds": True},
            [
                '["a b"]: is not a known field; there are items, texts, numbers, options, either, maybe, seconds',
                "seconds: expected a number > 0 and ≤ 9, got true",
            ],
        ),
    ],
)
def test_each_mistake_is_told_with_its_path(data: object, said: list[str]) -> None:
    assert mistakes_of(data) == said


def test_what_is_right_is_kept_beside_what_is_wrong() -> None:
    data = {
        "items": [{"name": 3, "kind": "b"}, 4, {"name": "n", "size": 5}],
        "texts": ["a", 1],
        "options": {"x": 1, "y": {}},
        "seconds": -1,
    }
    value, mistakes = read_what_is_right(data, Whole)
    assert len(mistakes) == 6
    assert [item.name for item in value.items] == [None, None, "n"]
    assert value.items[0].kind == "b"
    assert (value.texts, value.options, value.seconds) == (("a",), {"y": {}}, 1.0)
    assert read_what_is_right("nothing of it", Whole)[0] == Whole()


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (str, "a text"),
        (str | None, "a text"),
        (Annotated[int, Meta(ge=1, le=5)], "an integer from 1 to 5"),
        (Literal["a", "b"], '"a" or "b"'),
        (Annotated[tuple[str, ...], ONE_OR_MANY], "a text or a list"),
        (dict[str, int], "a mapping"),
        (Item, "a mapping"),
        (bool | list[int], "true or false or a list"),
    ],
)
def test_what_is_expected_is_said_in_words(kind: Any, words: str) -> None:
    assert expectation(kind) == words
