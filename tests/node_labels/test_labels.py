"""What a node says of its cards."""

import re
import string
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.cluster.labels import Description, carries_cards, describe, label_value, version_parts
from npu_agent.core.accelerator import Accelerator
from npu_agent.core.model_line import label_key_mistake
from tests.node_labels.cards import card, inventory

VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


def test_a_node_with_rngd_says_what_the_vendor_s_discovery_says_in_both_spellings() -> None:
    labels = describe(inventory(*(card(index=index) for index in range(8)))).labels
    vendors = {key: value for key, value in labels.items() if key.startswith("furiosa.ai/")}
    versions = {
        f"furiosa.ai/{spelling}{what}.version{part}": value
        for spelling in ("", "npu.")
        for what, parts in {
            "driver": {"": "1.0.0", ".major": "1", ".minor": "0", ".patch": "0", ".metadata": "0abcdef"},
            "firmware": {"": "2025.1.0", ".major": "2025", ".minor": "1", ".patch": "0", ".metadata": "696efad"},
        }.items()
        for part, value in parts.items()
    }
    assert vendors == {"furiosa.ai/npu.count": "8", "furiosa.ai/npu.family": "rngd", "furiosa.ai/npu.product": "rngd", **versions}


def test_the_agent_s_own_keys_are_below_its_prefix_and_name_the_family() -> None:
    described = describe(inventory(card(index=0), card(index=4, attributes=(("board-revision", "B1"),))), "npu.example.com")
    own = {key.removeprefix("npu.example.com/"): value for key, value in described.labels.items() if key.startswith("npu.example.com/")}
    version = {"major": "1", "minor": "0", "patch": "0", "metadata": "0abcdef"}
    firmware = {"major": "2025", "minor": "1", "patch": "0", "metadata": "696efad"}
    assert own == {
        "count": "2",
        "families": "rngd",
        "rngd.count": "2",
        "rngd.product": "rngd",
        "rngd.architecture": "rngd",
        "rngd.memory-gib": "48",
        "rngd.cores": "8",
        "rngd.driver.version": "1.0.0",
        **{f"rngd.driver.version.{part}": value for part, value in version.items()},
        "rngd.firmware.version": "2025.1.0",
        **{f"rngd.firmware.version.{part}": value for part, value in firmware.items()},
        "rngd.ids": "RNGD-0_RNGD-4",
        "rngd.numa-nodes": "0_1",
        "rngd.partitions": "1core_2core_4core",
        "rngd.board-revision": "B1",
    }
    assert described.annotations == {}


def test_a_node_without_a_card_says_nothing() -> None:
    assert describe({}) == Description()
    assert describe(inventory(card(unusable="no driver is bound to it", parts=()))) == Description()
    assert describe(inventory(card(), vanished_at=3.0)) == Description()


def test_what_differs_between_the_cards_is_left_out_or_joined_or_added_up_as_the_family_says() -> None:
    labels = describe(inventory(card(index=0), card(index=1, firmware="2026.1.0"), card("warboy", index=2))).labels
    assert labels["furiosa.ai/npu.count"] == "3"
    assert labels["beta.furiosa.ai/npu.count"] == "1"
    assert not [key for key in labels if key.startswith(("furiosa.ai/npu.family", "furiosa.ai/npu.product", "furiosa.ai/firmware"))]
    assert labels["furiosa.ai/driver.version"] == "1.0.0"
    assert labels["npu-agent.io/families"] == "rngd_warboy"
    assert (labels["npu-agent.io/rngd.count"], labels["npu-agent.io/warboy.count"]) == ("2", "1")
    assert "npu-agent.io/rngd.firmware.version" not in labels
    assert labels["npu-agent.io/warboy.firmware.version"] == "2025.1.0"


def test_a_card_whose_version_was_not_read_contradicts_no_other() -> None:
    labels = describe(inventory(card(index=0), card(index=1, firmware=""))).labels
    assert labels["furiosa.ai/firmware.version"] == "2025.1.0"


def test_what_does_not_fit_a_label_is_an_annotation_of_that_key() -> None:
    cards = [card(index=index, id=f"82540B87-1055-48C6-AAB1-{index:012X}") for index in range(2)]
    described = describe(inventory(*cards))
    assert "npu-agent.io/rngd.ids" not in described.labels
    assert described.annotations == {"npu-agent.io/rngd.ids": f"{cards[0].id}, {cards[1].id}"}


def test_health_changes_no_label() -> None:
    assert describe(inventory(card(), healthy=False)) == describe(inventory(card()))


def test_a_card_that_vanished_keeps_the_taint_while_it_is_listed() -> None:
    assert carries_cards(inventory(card(), vanished_at=1.0))
    assert not carries_cards(inventory(card(unusable="no driver is bound to it")))
    assert not carries_cards({})


def test_a_card_of_which_nobody_says_more_has_the_agent_s_own_labels() -> None:
    labels = describe(inventory(Accelerator("a", backend="other", family="Ours Mk. 2"))).labels
    assert labels == {
        "npu-agent.io/count": "1",
        "npu-agent.io/families": "Ours-Mk.-2",
        "npu-agent.io/Ours-Mk.-2.count": "1",
        "npu-agent.io/Ours-Mk.-2.ids": "a",
    }


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1.0.0, 0abcdef", {"": "1.0.0", "major": "1", "minor": "0", "patch": "0", "metadata": "0abcdef"}),
        ("2025.1.0+696efad", {"": "2025.1.0", "major": "2025", "minor": "1", "patch": "0", "metadata": "696efad"}),
        ("1.2.3~rc1, ab", {"": "1.2.3", "major": "1", "minor": "2", "patch": "3", "prerelease": "rc1", "metadata": "ab"}),
        ("v2.0.1-beta.2", {"": "2.0.1", "major": "2", "minor": "0", "patch": "1", "prerelease": "beta.2"}),
        ("595.84", {"": "595.84"}),
        ("fake", {"": "fake"}),
    ],
)
def test_a_version_is_split_as_the_drivers_write_it(text: str, parts: dict[str, str]) -> None:
    assert version_parts(text) == parts


ANY_TEXT = st.text(max_size=80)
TEXTS = st.text(alphabet=string.ascii_letters + string.digits + " ._-+,/é\n", max_size=80)


@given(text=ANY_TEXT)
def test_a_value_of_a_label_is_valid_or_too_long_or_empty(text: str) -> None:
    value = label_value(text)
    assert not value or len(value) > 63 or VALUE.fullmatch(value)
    assert label_value(value) == value


@given(
    cards=st.lists(
        st.builds(
            lambda family, id, driver, firmware, numa, name, value: Accelerator(
                id, backend="x", family=family, driver=driver, firmware=firmware, numa_node=numa, attributes=((name, value),)
            ),
            TEXTS,
            st.text(alphabet=string.ascii_letters + string.digits, min_size=1, max_size=63),
            TEXTS,
            ANY_TEXT,
            st.none() | st.integers(0, 7),
            TEXTS,
            ANY_TEXT,
        ),
        max_size=5,
        unique_by=lambda one: one.id,
    )
)
def test_whatever_cards_say_of_themselves_kubernetes_takes_the_labels(cards: list[Accelerator]) -> None:
    described = describe(inventory(*cards))
    for key, value in described.labels.items():
        assert not label_key_mistake(key)
        assert VALUE.fullmatch(value)
    for key, value in described.annotations.items():
        assert not label_key_mistake(key)
        assert value.isprintable()
    assert not described.labels.keys() & described.annotations.keys()
    assert describe(inventory(*[replace(one) for one in reversed(cards)])) == described
