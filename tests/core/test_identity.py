"""Ids of cards and devices: short, of few letters, and one text an id."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.core.accelerator import Accelerator
from npu_agent.core.identity import MAX_DEVICE_ID, as_device_id, hashed, ids_of, is_called, stable_id

ID = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")

TEXTS = st.one_of(
    st.text(),
    st.text("aB0._-: /\udc80ǝ", max_size=80),
    st.from_regex(r"[0-9a-f]{4}[:-][0-9a-f]{2}[:-][0-9a-f]{2}\.[0-7]", fullmatch=True),
    st.text("ab_").map(hashed),
)


@given(TEXTS)
def test_an_id_has_1_to_63_characters_that_names_in_kubernetes_have(text: str) -> None:
    for id in (as_device_id(text), hashed(text)):
        assert ID.fullmatch(id)
        assert len(id) <= MAX_DEVICE_ID


@given(TEXTS)
def test_an_id_stays_as_it_is(text: str) -> None:
    assert as_device_id(as_device_id(text)) == as_device_id(text)


@given(TEXTS, TEXTS)
def test_two_texts_become_one_id_only_where_one_is_written_as_the_id_of_the_other(one: str, other: str) -> None:
    id = as_device_id(one)
    assert one == other or id != as_device_id(other) or id in (one, other)


@pytest.mark.parametrize(
    ("text", "id"),
    [
        ("AAAAAAAA-AAAA-AAAA-AAAA-AAAAAAAAAAAA", "AAAAAAAA-AAAA-AAAA-AAAA-AAAAAAAAAAAA"),
        ("WBYB0000000000000", "WBYB0000000000000"),
        ("0000:6d:00.0", "0000-6d-00.0"),
        ("10000:e1:00.7", "10000-e1-00.7"),
        ("a" * 63, "a" * 63),
        ("a" * 64, "a" * 50 + "-ffe054fe7ae0"),
        ("", "e3b0c44298fc"),
        ("a:b", hashed("a:b")),
        ("serial 7", hashed("serial 7")),
    ],
)
def test_what_is_an_id_already_and_a_pci_address_can_be_recognised(text: str, id: str) -> None:
    assert as_device_id(text) == id


def test_texts_that_differ_in_what_cannot_stay_are_told_apart() -> None:
    texts = ["a:b", "a/b", "a b", "a-b", ":a-b", "a-b\n"]
    assert len({as_device_id(text) for text in texts}) == len(texts)


@pytest.mark.parametrize(
    ("uuid", "serial", "pci_address", "id"),
    [
        ("U-1", "S-1", "0000:6d:00.0", "U-1"),
        ("", "S-1", "0000:6d:00.0", "S-1"),
        (" \n", "\t", "0000:6d:00.0", "0000-6d-00.0"),
        ("U-1\n", "", "", "U-1"),
    ],
)
def test_a_card_is_known_by_its_uuid_else_its_serial_else_its_address(uuid: str, serial: str, pci_address: str, id: str) -> None:
    assert stable_id(uuid=uuid, serial=serial, pci_address=pci_address) == id


def test_a_card_that_nothing_is_known_of_has_no_id() -> None:
    with pytest.raises(ValueError, match="no uuid, no serial and no PCI address"):
        stable_id(uuid=" ", serial="", pci_address="\n")


def test_people_may_call_a_card_by_any_of_its_texts_in_any_case_and_by_nothing_else() -> None:
    card = Accelerator("rngd-7", "sysfs", "rngd", name="npu0", uuid="0A-ef", serial="S1", pci_address="0000:6d:00.0")
    for name in ("rngd-7", "NPU0", "0000:6D:00.0", "6d:00.0", "0a-EF", "s1"):
        assert is_called(card, name)
    for name in ("", "npu1", "d:00.0", "sysfs"):
        assert not is_called(card, name)
    assert not is_called(Accelerator("rngd-7", "sysfs", "rngd"), "")
    assert not is_called(card, "0000:")


def test_a_card_may_have_been_known_by_each_of_its_texts_and_by_two_of_them_and_by_no_empty_one() -> None:
    card = Accelerator("rngd-7", "sysfs", "rngd", name="npu0", uuid="U", serial="S", pci_address="0000:6d:00.0")
    assert ids_of(card) == {"rngd-7", "rngd-npu0", "0000-6d-00.0", "U", "S", "U_0000-6d-00.0", "S_0000-6d-00.0"}
    assert ids_of(Accelerator("rngd-7", "sysfs", "rngd", uuid="U", serial=" ")) == {"rngd-7", "U"}
    assert ids_of(Accelerator("rngd-7", "sysfs", "rngd")) == {"rngd-7"}


def test_a_card_without_any_text_has_no_id() -> None:
    with pytest.raises(ValueError, match=r"^a card has no uuid, no serial and no PCI address to be named by$"):
        stable_id()
