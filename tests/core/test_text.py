"""Text of others is shown in one printable line of a bounded length."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.core.text import escaped, natural, printable

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=400)
"""All code points, lone surrogates among them."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", ""),
        ("alive reads 0", "alive reads 0"),
        ("펌웨어 2.1.0", "펌웨어 2.1.0"),
        ("≤ 10 %, naïve", "≤ 10 %, naïve"),
        ("\x1b[31mRED\x1b[0m", r"\x1b[31mRED\x1b[0m"),
        ("\x9b31m", r"\x9b31m"),
        ("a\r\nb\tc\0", r"a\r\nb\tc\x00"),
        ("a\u2028b\u2029", r"a\u2028b\u2029"),
        ("\u202eevil\u202c \u2066x\u2069", r"\u202eevil\u202c \u2066x\u2069"),
        ("\udcff\udcfe", r"\udcff\udcfe"),
        ("\U000e0041", r"\U000e0041"),
        (r"C:\x1b", r"C:\x1b"),
    ],
)
def test_what_is_not_printable_becomes_its_escape(text: str, shown: str) -> None:
    assert printable(text) == escaped(text) == shown


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("abcde", 5, "abcde"),
        ("abcdef", 5, "abcd…"),
        ("abcdef", 1, "…"),
        ("ab\x1bcd", 8, r"ab\x1bcd"),
        ("ab\x1bcde", 8, r"ab\x1bc…"),
        ("ab\x1bcd", 5, "ab…"),
        ("\x1b", 3, "…"),
    ],
)
def test_what_is_too_long_is_cut_between_two_characters(text: str, most: int, shown: str) -> None:
    assert printable(text, most) == shown


@given(ANY_TEXT, st.integers(1, 500))
def test_the_result_is_printable_bounded_and_stays_the_same_when_it_is_made_again(text: str, most: int) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    assert len(shown) <= most
    assert printable(shown, most) == shown
    shown.encode()  # as every printable text is, it is UTF-8


@given(
    st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S", "Zs"]) | st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3))
)
def test_ascii_and_hangul_are_kept(text: str) -> None:
    assert printable(text, max(len(text), 1)) == text


def test_a_text_of_megabytes_costs_no_more_than_its_beginning() -> None:
    text = "\x1b" * (4 << 20)
    began = time.process_time()
    shown = printable(text)
    took_s = time.process_time() - began
    assert shown == r"\x1b" * 74 + "…"
    assert took_s < 0.05


def test_texts_are_sorted_as_people_count_and_pci_addresses_in_base_16() -> None:
    texts = ["npu10", "0000:0a:00.0", "npu2", "0000:09:00.0", "0000:10:00.0", "npu1"]
    assert sorted(texts, key=natural) == ["0000:09:00.0", "0000:0a:00.0", "0000:10:00.0", "npu1", "npu2", "npu10"]


def test_numbers_come_before_addresses_and_addresses_are_compared_as_they_are_written() -> None:
    assert sorted(["0000:9a:00.0", "0000:1F:00.0", "10", "0000:10:00.0", "7"], key=natural) == [
        "7",
        "10",
        "0000:10:00.0",
        "0000:1F:00.0",
        "0000:9a:00.0",
    ]
