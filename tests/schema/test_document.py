"""YAML as administrators write it: what its values are, and what is refused with its line."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.schema.document import MAX_BYTES, MAX_DEPTH, MAX_DIRECTIVES, MAX_KEY, MAX_VALUES, dump, parse, read_text
from npu_agent.schema.errors import DocumentError
from npu_agent.schema.mistakes import line_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0000:01:00.0", "0000:01:00.0"),
        ("12:30:45", "12:30:45"),
        ("no", "no"),
        ("on", "on"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("<<", "<<"),
        (".inf", ".inf"),
        ("9" * 5000, "9" * 5000),
        ("12", 12),
        ("-3", -3),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("'12'", "12"),
        ('"true"', "true"),
        ("|\n  a\n  b\n", "a\nb\n"),
        ("[a, [1, {}]]", ["a", [1, {}]]),
        ("{1: a, b: }", {"1": "a", "b": None}),
        ('{"json": [true, null, "\\u00e9"]}', {"json": [True, None, "é"]}),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse(text).data == value


def test_each_field_has_the_line_on_which_it_begins() -> None:
    lines = parse("a:\n  - b: 1\n    c: 2\n\n  - b: 3\nd d: 4\n").lines
    paths = ["a", "a[0]", "a[0].b", "a[0].c", "a[1]", "a[1].b", '["d d"]']
    assert [line_of(path, lines) for path in paths] == [1, 2, 2, 3, 5, 5, 6]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: a is here a second time; it was on line 1 already"),
        ("a:\n  - {b: 1, b: 2}\n", "line 2: a[0].b is here a second time; it was on line 2 already"),
        ("a: [1", "line 2: is not YAML: did not find expected ',' or ']' (column 1)"),
        ("a: b: c", "line 1: is not YAML: mapping values are not allowed in this context (column 5)"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins here; expected one"),
        ("a: &x [1]\nb: *x", "line 1: the anchor &x is not supported; write the value out where it is needed"),
        ("b: *x", "line 1: the alias *x is not supported; write the value out"),
        ("a: !!python/name:os.system 1", "line 1: the tag tag:yaml.org,2002:python/name:os.system is not supported"),
        ("? [a]\n: 1", "line 1: a list or a mapping cannot be a key"),
        ("[" * 100_000, f"line 1: is nested deeper than {MAX_DEPTH} levels"),
        ("a: \x00", "is not YAML: unacceptable character #x0000: control characters are not allowed"),
        ("a: \ud800", "is not YAML: 'utf-8' codec can't encode character '\\ud800' in position 3: surrogates not allowed"),
        ("a" * (MAX_BYTES + 1), "is larger than 1 MiB"),
        (f"a: 1\n? {'k' * (MAX_KEY + 1)}\n: 1", f'line 2: the key "{"k" * 58}… has more than {MAX_KEY} characters'),
        ("[\n" + "1,\n" * MAX_VALUES + "]", f"line {MAX_VALUES + 1}: has more than {MAX_VALUES} values"),
        ("%TAG !a! b\n" * (MAX_DIRECTIVES + 1) + "--- 1", f"has more than {MAX_DIRECTIVES} lines that begin with %"),
        ("# \r%TAG !a! b" * (MAX_DIRECTIVES + 1) + "\r--- 1", f"has more than {MAX_DIRECTIVES} lines that begin with %"),
        ("a: !<%1b[31mRED> 1", "line 1: the tag \\x1b[31mRED is not supported"),
        ("a: &" + "x" * 100 + " 1", f"line 1: the anchor &{'x' * 59}… is not supported; write the value out where it is needed"),
        ('"\\e[31m": 1\n"\\e[31m": 2', 'line 2: ["\\u001b[31m"] is here a second time; it was on line 1 already'),
    ],
)
def test_what_is_refused_is_told_with_its_line(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as refused:
        parse(text)
    assert str(refused.value) == message


def test_a_file_is_read_as_text(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("ä: 1\n")
    assert read_text(tmp_path / "file") == "ä: 1\n"


def test_a_file_that_is_no_text_is_refused_with_the_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(DocumentError, match=r"line 2: is not text in UTF-8 \(byte 8 is 0xff\)"):
        read_text(tmp_path / "file")


def test_neither_a_huge_file_nor_a_pipe_nor_a_folder_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("huge", "is larger than 1 MiB"), ("pipe", "is not a file"), (".", "is not a file")):
        with pytest.raises(DocumentError, match=message):
            read_text(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "missing")


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_dumped_is_read_back_as_the_same(value: object) -> None:
    assert parse(dump(value)).data == value
