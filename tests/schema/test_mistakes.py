"""Mistakes as people read them: bounded, printable, in order."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.schema.document import parse
from npu_agent.schema.mistakes import MAX_MESSAGE, MAX_MISTAKES, Mistake, below, line_of, path_of, report, shown


def test_one_mistake_is_told_on_one_line() -> None:
    assert report("a.yaml", [Mistake("b", "is wrong")]) == "a.yaml: b: is wrong"


def test_mistakes_are_told_in_the_order_of_their_lines() -> None:
    lines = parse("a: 1\nb:\n- c: 2\n").lines
    told = report("a.yaml", [Mistake("b[0].c", "x"), Mistake("a", "y"), Mistake("b[0].d", "is missing")], lines)
    assert told.splitlines() == ["a.yaml has 3 mistakes:", "  line 1: a: y", "  line 3: b[0].c: x", "  line 3: b[0].d: is missing"]


def test_of_many_mistakes_the_first_are_told_and_the_number_of_the_others() -> None:
    told = report("a.yaml", [Mistake(f"f{number}", "x") for number in range(60_000)]).splitlines()
    assert told[0] == "a.yaml has 60000 mistakes:"
    assert told[-1] == "  and 59980 more"
    assert len(told) == MAX_MISTAKES + 2


@given(st.text(), st.text(), st.text())
def test_a_report_is_printable_and_bounded_whatever_it_repeats(place: str, path: str, message: str) -> None:
    for line in report(place, [Mistake(path, message), Mistake(path, message * 2000)]).split("\n"):
        assert line.isprintable()
        assert len(line) <= 2 * MAX_MESSAGE + 2


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("a", '"a"'),
        ("\x1b[31m\u202e\x9b\n", '"\\u001b[31m\\u202e\\x9b\\n"'),
        ("x" * 100, f'"{"x" * 58}…'),
        (None, "nothing"),
        (True, "true"),
        ({}, "a mapping"),
        ([], "a list"),
        (1.5, "1.5"),
    ],
)
def test_data_is_shown_as_a_short_piece_of_json(data: object, text: str) -> None:
    assert shown(data) == text


@given(st.text(max_size=200))
def test_what_is_shown_is_printable_and_bounded(text: str) -> None:
    assert shown(text).isprintable()
    assert len(shown(text)) <= 60


KEYS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), min_size=1, max_size=80) | st.sampled_from(
    ["a", "b-c", "d d", '"', "]", "…"]
)


@given(st.lists(KEYS, unique_by=shown, min_size=1, max_size=4), st.data())
def test_a_field_is_found_by_its_path(keys: list[str], data: st.DataObject) -> None:
    text = "".join(f"{json.dumps(key)}:\n- {json.dumps(key)}: 1\n" for key in keys)
    lines = parse(text).lines
    index = data.draw(st.integers(0, len(keys) - 1))
    assert line_of(below("", keys[index]), lines) == 2 * index + 1
    if "…" not in shown(keys[index]):
        assert line_of(path_of([keys[index], 0, keys[index]]), lines) == 2 * index + 2
    assert line_of(path_of([keys[index], 7, "missing"]), lines) == 2 * index + 1
