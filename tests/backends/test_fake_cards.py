"""Descriptions of fake cards: what is said of a wrong one, whatever is wrong with it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.backends import registry
from npu_agent.backends.errors import OptionError
from npu_agent.backends.fake.cards import Card
from tests.backends.only import edits


@pytest.mark.parametrize(
    ("options", "path", "message"),
    [
        ({"accelerators": -1}, "accelerators", "expected an integer from 0 to 10000 or a list, got -1"),
        ({"accelerators": "two"}, "accelerators", 'expected an integer from 0 to 10000 or a list, got "two"'),
        ({"accelerators": [{}, {"numa_node": "x"}]}, "accelerators[1].numa_node", 'expected an integer from 0 to 1023, got "x"'),
        ({"accelerators": [{"famly": "rngd"}]}, "accelerators[0].famly", "is not a known field; did you mean family?"),
        ({"accelerators": [{"serial": 7}]}, "accelerators[0].serial", "expected a text, got 7; put it in quotes to make it a text"),
        ({"accelerators": [{"id": "a/b"}]}, "accelerators[0].id", "expected 1 to 63 letters, digits, '.', '_' and '-', got \"a/b\""),
        ({"accelerators": [{"id": "a"}, {"id": "a"}]}, "accelerators[1].id", '"a" is already the id of accelerators[0]'),
        (
            {"accelerators": [{"name": "n", "id": "a"}, {"name": "n"}]},
            "accelerators[1].nodes",
            '"n" is already a device node of accelerators[0]',
        ),
        ({"accelerators": [{"count": 10_000}] * 2}, "accelerators", "expected at most 10000 cards with at most 100000 device nodes"),
        ({"accelerators": [{"nodes": ["{part}"] * 500}] * 90}, "accelerators", "got 90 with 270000"),
        ({"accelerators": [{"count": 2, "uuid": "u"}]}, "accelerators[0].uuid", "belongs to one card, and count is 2"),
        ({"accelerators": [{"nodes": ["../x"]}]}, "accelerators[0].nodes", "expected a path below the folder of device nodes"),
        ({"accelerators": [{"name": "../../etc"}]}, "accelerators[0].name", 'expected a name such as npu0, got "../../etc"'),
        ({"device_folder": "devices"}, "device_folder", "expected the whole path of a folder"),
        ({"container_folder": "/dev/../etc"}, "container_folder", "expected the whole path of a folder"),
        ({"acelerators": 2}, "acelerators", "is not a known field; did you mean accelerators?"),
    ],
)
def test_a_wrong_option_is_refused_with_its_path(options: dict[str, Any], path: str, message: str) -> None:
    with pytest.raises(OptionError) as refused:
        registry.create("fake", options, Path("/"))
    assert refused.value.path == path
    assert message in refused.value.message


def test_every_card_that_is_not_its_own_is_told_once() -> None:
    cards = [{"id": "a"}, {"id": "a"}, {"count": 3, "nodes": ["n"], "uuid": "u"}]
    with pytest.raises(OptionError) as refused:
        registry.create("fake", {"accelerators": cards}, Path("/"))
    assert [mistake.path for mistake in refused.value.mistakes] == ["accelerators[1].id", "accelerators[2].uuid", "accelerators[2].nodes"]


FIELDS = sorted({"accelerators", "device_folder", *Card.__struct_fields__} - {"count"})
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=5) | st.sampled_from(["{name}", "{part}", "/dev/x", "a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=3) | VALUES.map(lambda value: {"accelerators": [value]}))
def test_any_options_make_cards_or_are_refused_with_a_path(options: dict[str, Any]) -> None:
    try:
        backend = registry.create("fake", options, Path("/"))
    except OptionError as error:
        path = error.path
    else:
        path = "accelerators"
        found = asyncio.run(backend.scan())
        assert len({accelerator.id for accelerator in found}) == len(found)
        assert all(edits(accelerator).device_nodes is not None for accelerator in found)
    assert path
