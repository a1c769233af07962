"""Which accelerators a selector means, and what of it means none."""

import fnmatch
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.core.accelerator import Accelerator
from npu_agent.core.selection import ANYTHING, Selector, unmatched

RNGD = Accelerator(
    "R",
    "sysfs",
    "rngd",
    name="npu0",
    location=("numa1", "pci0000:6a", "0000:6d:00.0"),
    numa_node=1,
    pci_address="0000:6d:00.0",
    uuid="09AB-cd",
    serial="SN1",
    attributes=(("module", "3"), ("board-revision", "A2")),
)
FAR = Accelerator(
    "F", "sysfs", "rngd", name="npu1", location=("numa0", "0001:6d:00.0"), numa_node=0, pci_address="0001:6d:00.0", uuid="09AB-ce"
)
WARBOY = Accelerator("W", "sysfs", "warboy", name="npu2", location=("numa0", "0000:01:00.0"), numa_node=0, pci_address="0000:01:00.0")
LOOSE = Accelerator("L", "fake", "rngd")
ALL = (RNGD, FAR, WARBOY, LOOSE)


def meant(**fields: Any) -> str:
    return "".join(accelerator.id for accelerator in ALL if Selector(**fields).matches(accelerator))


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({}, "RFWL"),
        ({"families": ("rngd",)}, "RFL"),
        ({"families": ("RNGD",)}, ""),
        ({"families": ("war*", "x")}, "W"),
        ({"backends": ("fake",)}, "L"),
        ({"ids": ("[RW]",)}, "RW"),
        ({"ids": ("r", "w")}, "RW"),
        ({"uuids": ("09ab-CD",)}, "R"),
        ({"uuids": ("09ab-*",)}, "RF"),
        ({"serials": ("sn1",)}, "R"),
        ({"names": ("NPU[01]",)}, "RF"),
        ({"pci_addresses": ("0000:6D:00.0",)}, "R"),
        ({"pci_addresses": ("6d:00.0",)}, "R"),
        ({"pci_addresses": ("6?:*",)}, "R"),
        ({"pci_addresses": ("0000:??:*",)}, "RW"),
        ({"pci_addresses": ("*:6d:00.0",)}, "RF"),
        ({"pci_addresses": ("*",)}, "RFWL"),
        ({"pci_addresses": ("?*",)}, "RFW"),
        ({"locations": ("numa1",)}, "R"),
        ({"locations": ("numa?/0000:01",)}, ""),
        ({"locations": ("numa?/pci0000:6a",)}, "R"),
        ({"locations": ("numa*",)}, "RFW"),
        ({"locations": ("numa1/pci0000:6a/0000:6d:00.0",)}, "R"),
        ({"locations": ("numa",)}, ""),
        ({"numa_nodes": (0, 1)}, "RFW"),
        ({"families": ("rngd",), "numa_nodes": (0,)}, "F"),
        ({"attributes": {"module": ("3", "4")}}, "R"),
        ({"attributes": {"module": ("*",)}}, "R"),
        ({"attributes": {"module": ("3",), "board-revision": ("B*",)}}, ""),
        ({"attributes": {"other": ("*",)}}, ""),
    ],
)
def test_a_selector_means_the_accelerators_for_which_each_of_its_fields_holds(fields: dict[str, Any], ids: str) -> None:
    assert meant(**fields) == ids


def test_texts_with_wildcards_are_counted() -> None:
    assert Selector(ids=("a", "b*"), locations=("numa?",), numa_nodes=(1,), attributes={"x*": ("a", "[b]")}).patterns == 3
    assert ANYTHING.patterns == 0


@pytest.mark.parametrize(
    ("selector", "told"),
    [
        (ANYTHING, []),
        (Selector(families=("rngd",)), []),
        (Selector(families=("warboy", "rngd")), []),
        (Selector(families=("gaudi2", "acme")), ["families: gaudi2, acme"]),
        (Selector(ids=("r", "x", "y")), ["ids: x", "ids: y"]),
        (Selector(pci_addresses=("6d:00.0", "7d:00.0")), ["pci_addresses: 7d:00.0"]),
        (Selector(numa_nodes=(0, 7)), []),
        (Selector(numa_nodes=(7,), backends=("gpu",)), ["backends: gpu", "numa_nodes: 7"]),
        (Selector(attributes={"module": ("3",), "slot": ("1", "2")}), ["attributes: slot: 1, 2"]),
        (Selector(families=("warboy",), numa_nodes=(1,)), ["families and numa_nodes together"]),
    ],
)
def test_what_matches_nothing_on_this_host_is_told(selector: Selector, told: list[str]) -> None:
    assert unmatched(selector, ALL) == told
    assert unmatched(selector, ()) == []


TEXTS = st.text("ab*?[]!-", min_size=1, max_size=6)


@given(st.text(), st.text())
def test_any_text_is_a_pattern(pattern: str, value: str) -> None:
    selector = Selector(families=(pattern,), ids=(pattern,), pci_addresses=(pattern,), locations=(pattern,))
    assert selector.matches(replace(RNGD, id=value, family=value)) in (True, False)


@given(TEXTS, TEXTS)
def test_a_pattern_means_what_it_means_in_a_shell(pattern: str, value: str) -> None:
    assert Selector(families=(pattern,)).matches(replace(RNGD, family=value)) == fnmatch.fnmatchcase(value, pattern)


@given(TEXTS, TEXTS)
def test_what_names_one_accelerator_is_compared_without_case(pattern: str, value: str) -> None:
    written = Selector(uuids=(pattern.upper(),), ids=(pattern,), serials=(pattern.title(),))
    assert written.matches(replace(RNGD, uuid=value, id=value, serial=value)) == fnmatch.fnmatchcase(value, pattern)
