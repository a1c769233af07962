"""Each message of kubelet's APIs is the bytes that an independent implementation makes of it, and those are written down."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.api.contract import MESSAGES, Field, google_message
from tests.api.messages import attributes, message_class, our_message

GOLDEN = json.loads(Path(__file__).with_name("golden.json").read_text(encoding="utf-8"))
CASES = [pytest.param(case["message"], case["value"], bytes.fromhex(case["bytes"]), id=case["message"]) for case in GOLDEN]
"""To add a message, write it with kubelet's names; the first test says what its bytes are."""


@pytest.mark.parametrize(("name", "value", "wire"), CASES)
def test_google_protobuf_writes_the_golden_bytes(name: str, value: dict[str, Any], wire: bytes) -> None:
    assert google_message(name, value).SerializeToString(deterministic=True).hex() == wire.hex()


@pytest.mark.parametrize(("name", "value", "wire"), CASES)
def test_our_messages_are_the_golden_bytes(name: str, value: dict[str, Any], wire: bytes) -> None:
    assert bytes(our_message(name, value)).hex() == wire.hex()


@pytest.mark.parametrize(("name", "value", "wire"), CASES)
def test_the_golden_bytes_are_read_as_our_messages(name: str, value: dict[str, Any], wire: bytes) -> None:
    assert message_class(name).parse(wire) == our_message(name, value)


def test_each_field_of_each_message_is_among_the_golden_ones() -> None:
    seen = {(case["message"], field) for case in GOLDEN for field in case["value"]}
    assert {case["message"] for case in GOLDEN} == set(MESSAGES)
    assert {(message, field.name) for message, fields in MESSAGES.items() for field in fields} == seen


@pytest.mark.parametrize("name", MESSAGES)
def test_our_messages_have_the_fields_of_the_contract_and_no_others(name: str) -> None:
    assert set(attributes(name)) == {field.number for field in MESSAGES[name]}


FIELDS_OF_TOMORROW = {
    "a number": "b80607",
    "a text": "ba06036e6577",
    "a message in a message": "ba06060a040a026869",
    "32 bits": "bd0601020304",
    "64 bits": "b9060102030405060708",
}
"""Field 103 in each wire type that proto3 has."""


@pytest.mark.parametrize("unknown", FIELDS_OF_TOMORROW.values(), ids=FIELDS_OF_TOMORROW)
@pytest.mark.parametrize(("name", "value", "wire"), CASES)
def test_a_field_that_a_later_kubelet_adds_is_kept_and_changes_no_other(
    name: str, value: dict[str, Any], wire: bytes, unknown: str
) -> None:
    """Before the known fields or after them. It stays with the message, so what is passed on loses nothing."""
    added = bytes.fromhex(unknown)
    for received in (wire + added, added + wire):
        message = message_class(name).parse(received)
        assert message == our_message(name, value)
        assert bytes(message).hex() == (wire + added).hex()
        assert google_message(name, {}).FromString(bytes(message)).SerializeToString(deterministic=True) == wire + added


def test_a_claim_without_a_share_differs_from_one_with_an_empty_share() -> None:
    claim = message_class("v1.ClaimResource")
    assert claim.parse(b"").share_id is None  # type: ignore[attr-defined]
    assert claim.parse(bytes.fromhex("2a00")).share_id == ""  # type: ignore[attr-defined]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "bool": st.booleans(),
    "int32": st.integers(-(2**31), 2**31 - 1),
    "int64": st.integers(-(2**63), 2**63 - 1),
    "uint64": st.integers(0, 2**64 - 1),
    "map": st.dictionaries(TEXTS, TEXTS, max_size=1),
}
"""Maps of one entry: the order of several is free on the wire."""


def values_of(name: str) -> st.SearchStrategy[dict[str, Any]]:
    package = name.partition(".")[0]

    def of(field: Field) -> st.SearchStrategy[Any]:
        one = VALUES[field.type] if field.type in VALUES else st.deferred(lambda: values_of(f"{package}.{field.type}"))
        return st.lists(one, max_size=3) if field.label == "repeated" else one

    return st.fixed_dictionaries({}, optional={field.name: of(field) for field in MESSAGES[name]})


ANY_MESSAGE = st.sampled_from(sorted(MESSAGES)).flatmap(lambda name: st.tuples(st.just(name), values_of(name)))


@given(ANY_MESSAGE)
def test_any_message_is_the_same_bytes_in_both_implementations_and_comes_back_equal(case: tuple[str, dict[str, Any]]) -> None:
    name, value = case
    theirs = google_message(name, value).SerializeToString(deterministic=True)
    ours = our_message(name, value)
    assert bytes(ours) == theirs
    assert message_class(name).parse(theirs) == ours
    assert bytes(message_class(name).parse(theirs)) == theirs
