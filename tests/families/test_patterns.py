"""Regular expressions of families: which are refused, and that none of the others can run long."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npu_agent.families.attributes import piece
from npu_agent.families.patterns import compiled, pattern_mistake


@pytest.mark.parametrize(
    "pattern",
    [r"rbln([0-9]+)\s", r"RKNPU driver: v([0-9.]+)", r"(.*)", r"(?:a|b)?x([^ ]+)", r"([0-9]{4}):", r"[]a]*([)(*+?]+)", r"a\*\?\+\{\)(\d)"],
)
def test_what_patterns_need_is_taken(pattern: str) -> None:
    assert pattern_mistake(pattern) == ("a group with ? behind it can take long; write out what repeats" if "b)?" in pattern else "")


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(a+)+b", "a group with + behind it can take long; write out what repeats"),
        ("(a|aa)*", "a group with * behind it"),
        ("(?:a*){2}(b)", "a group with {2} behind it"),
        ("(a*)(b)", "expected one group in ( and ), which is the value, got 2"),
        ("abc", "expected one group in ( and ), which is the value, got 0"),
        (r"(a)\1", r"\1 refers to a group, which can take long"),
        ("(?=a)(b)", "(?= is not supported; there are (…) and (?:…)"),
        ("(?P<x>a)", "(?P is not supported"),
        ("a*b*c*(d)", "expected at most 2 of *, + or {…}, got 3; more can take long"),
        ("a?b?c?(d)", "expected at most 2 of ?, got 3"),
        ("(a{1,65})", "expected at most 64 repetitions, got {1,65}"),
        ("(a", 'expected a regular expression, got "(a": missing ), unterminated subpattern at position 0'),
        ("[[a](b)", "expected a regular expression"),
        ("(" + "a" * 200 + ")", "expected a regular expression of at most 200 printable characters"),
        ("(a\n)", "expected a regular expression of at most 200 printable characters"),
    ],
)
def test_what_could_run_long_is_refused(pattern: str, said: str) -> None:
    assert pattern_mistake(pattern).startswith(said)


def cpu_time(pattern: str, text: str) -> float:
    begun = time.process_time()
    for _ in range(16):  # a file of 4 KiB has so many lines of the longest
        compiled(pattern).match(text)
    return time.process_time() - begun


@pytest.mark.parametrize("pattern", [".*.*(x)", "a*a*(b)", "a?a?a*a*(b)", "a{1,64}a{1,64}(b)", ".*?.*?(x)", "(?:a|a|a|a)a*a*(b)"])
def test_the_worst_that_is_taken_is_over_soon(pattern: str) -> None:
    assert pattern_mistake(pattern) == ""
    assert cpu_time(pattern, "a" * 256) < 0.2


@settings(deadline=None, max_examples=300)
@given(st.text(st.sampled_from("ab.*+?()[]|{}\\1,2:^$"), max_size=30))
def test_any_pattern_is_refused_or_over_soon(pattern: str) -> None:
    if pattern_mistake(pattern) == "":
        assert cpu_time(pattern, "ab" * 64 + "a" * 128) < 0.5


@pytest.mark.parametrize(
    ("lines", "after", "pattern", "value"),
    [
        (["Model: \t\tTesla V100", "Device Minor: \t 3"], "Device Minor", "", "3"),
        (["Bus Location:    0000:06:00.0"], "Bus Location", "", "0000:06:00.0"),
        (["NPU load:  Core0:  7%, Core1: 12%,"], "Core1", "([0-9]+)%", "12"),
        (["poolinfo - 0.1", "rbln3               0    4 1024  1"], "", "rbln([0-9]+) ", "3"),
        (["TOTAL_ERR_FATAL 2"], "TOTAL_ERR_FATAL", "", "2"),
        (["a: x"], "a", "([0-9])", None),
        (["b"], "a", "", None),
        ([], "", "(.)", None),
        (["x"], "", "x(y|)", ""),
    ],
)
def test_a_piece_is_found_by_the_text_before_it_and_by_a_pattern(lines: list[str], after: str, pattern: str, value: str | None) -> None:
    assert piece(lines, after, pattern) == value
