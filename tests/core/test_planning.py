"""From cards and configuration to pools."""

import fnmatch
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.core.accelerator import Accelerator
from npu_agent.core.health import Health
from npu_agent.core.identity import MAX_DEVICE_ID
from npu_agent.core.planning import ResourceSpec, Selector, plan
from npu_agent.core.pool import Pool

WELL = Health(healthy=True, reason="", since=0.0)
NPU = "furiosa.ai/npu"


def card(id: str, family: str = "rngd", **known: object) -> Accelerator:
    return replace(Accelerator(id, "sysfs", family), **known)


RNGD = card("R", numa_node=1, pci_address="0000:6d:00.0", location=("numa1", "0000:6a", "0000:6d:00.0"))
WARBOY = card("W", "warboy", numa_node=0, pci_address="0000:01:00.0", location=("numa0", "0000:00", "0000:01:00.0"))
LOOSE = card("L", backend="fake")
ALL = [RNGD, WARBOY, LOOSE]


def halves(accelerator: Accelerator, kind: str) -> Sequence[str]:
    return ["pe0-3", "pe4-7"] if accelerator.family == "rngd" and kind == "4core" else []


def pools(accelerators: Sequence[Accelerator], *specs: ResourceSpec, **how: object) -> dict[str, Pool]:
    return plan(accelerators, {accelerator.id: WELL for accelerator in accelerators}, specs, **how)


def ids(pool: Pool) -> list[str]:
    return [device.id for device in pool.devices]


@pytest.mark.parametrize(
    ("selector", "selected"),
    [
        (Selector(), "LRW"),
        (Selector(families=("rngd",)), "LR"),
        (Selector(families=("RNGD",)), ""),
        (Selector(families=("war*", "x")), "W"),
        (Selector(backends=("fake",)), "L"),
        (Selector(ids=("[RW]",)), "RW"),
        (Selector(pci_addresses=("0000:6?:*",)), "R"),
        (Selector(pci_addresses=("*",)), "LRW"),
        (Selector(pci_addresses=("?*",)), "RW"),
        (Selector(locations=("numa1",)), "R"),
        (Selector(locations=("numa?/0000:00",)), "W"),
        (Selector(locations=("numa*",)), "RW"),
        (Selector(locations=("numa1/0000:6a/0000:6d:00.0",)), "R"),
        (Selector(locations=("numa",)), ""),
        (Selector(numa_nodes=(0, 1)), "RW"),
        (Selector(families=("rngd",), numa_nodes=(0,)), ""),
    ],
)
def test_a_selector_means_the_cards_for_which_each_of_its_fields_holds(selector: Selector, selected: str) -> None:
    assert "".join(ids(pools(ALL, ResourceSpec(NPU, selector))[NPU])) == selected


def test_the_first_resource_that_selects_a_card_takes_it() -> None:
    planned = pools(ALL, ResourceSpec("furiosa.ai/rngd", Selector(families=("rngd",))), ResourceSpec(NPU))
    assert {name: ids(pool) for name, pool in planned.items()} == {"furiosa.ai/rngd": ["L", "R"], NPU: ["W"]}


def test_excluded_and_unusable_cards_are_in_no_pool() -> None:
    unbound = replace(RNGD, unusable="no driver is bound to 0000:6d:00.0; load furiosa_rngd")
    assert ids(pools([unbound, WARBOY, LOOSE], ResourceSpec(NPU), excluded=Selector(ids=("W",)))[NPU]) == ["L"]


def test_a_resource_without_a_card_has_an_empty_pool() -> None:
    assert pools([], ResourceSpec(NPU, policy="spread")) == {NPU: Pool(NPU, (), "spread")}


def test_a_card_becomes_one_device_each_of_its_parts_and_of_the_replicas_of_those() -> None:
    assert ids(pools([RNGD], ResourceSpec(NPU, replicas=2))[NPU]) == ["R_r0", "R_r1"]
    assert ids(pools([RNGD, WARBOY], ResourceSpec(NPU, partition="4core"), parts=halves)[NPU]) == ["R_pe0-3", "R_pe4-7"]
    planned = pools([RNGD], ResourceSpec(NPU, partition="4core", replicas=2), parts=halves)[NPU]
    assert [(device.id, device.partition, device.replica) for device in planned.devices] == [
        ("R_pe0-3_r0", "pe0-3", 0),
        ("R_pe0-3_r1", "pe0-3", 1),
        ("R_pe4-7_r0", "pe4-7", 0),
        ("R_pe4-7_r1", "pe4-7", 1),
    ]
    assert {(device.accelerator_id, device.location, device.numa_node) for device in planned.devices} == {("R", RNGD.location, 1)}


def test_a_device_has_the_health_of_its_card_and_not_how_far_its_recovery_has_come() -> None:
    failed = Health(healthy=False, reason="alive reads 0", since=7.0, good_readings=2)
    planned = plan([RNGD, LOOSE], {"R": failed, "L": WELL}, [ResourceSpec(NPU)])[NPU]
    assert {device.id: device.health for device in planned.devices} == {"L": WELL, "R": replace(failed, good_readings=0)}


def test_a_card_that_is_called_as_a_part_of_another_one_keeps_its_id() -> None:
    """kubelet knows a device by its id alone, so the part gets another."""
    planned = pools([card("R"), card("R_r0", "warboy")], ResourceSpec("a/b", Selector(families=("rngd",)), replicas=1), ResourceSpec(NPU))
    assert ids(planned["a/b"]) + ids(planned[NPU]) == ["R", "R_r0"]
    planned = pools([card("R"), card("R_r0", "warboy")], ResourceSpec("a/b", Selector(families=("rngd",)), replicas=2), ResourceSpec(NPU))
    assert ids(planned[NPU]) == ["R_r0"]
    assert [device.accelerator_id for device in planned["a/b"].devices] == ["R", "R"]
    assert "R_r1" in ids(planned["a/b"])


def test_the_generation_grows_when_a_pool_changes_and_only_then() -> None:
    first = pools([RNGD], ResourceSpec(NPU))
    again = pools([RNGD], ResourceSpec(NPU), previous=first)
    assert again[NPU] is first[NPU] or again[NPU] == first[NPU]
    assert again[NPU].generation == 0
    more = pools([RNGD, LOOSE], ResourceSpec(NPU), previous=again)
    assert more[NPU].generation == 1
    assert pools([RNGD], ResourceSpec(NPU), previous=more)[NPU].generation == 2


NAMES = st.text("RW_r01-", min_size=1, max_size=6).filter(lambda text: fnmatch.fnmatchcase(text, "[RW]*[RWr01]") or text in "RW")
CARDS = st.lists(
    st.builds(card, NAMES | NAMES.map(lambda name: name * 20).map(lambda name: name[:MAX_DEVICE_ID]), st.sampled_from(["rngd", "warboy"])),
    max_size=8,
    unique_by=lambda accelerator: accelerator.id,
)
SPECS = st.lists(
    st.builds(
        ResourceSpec,
        st.sampled_from(["a/1", "a/2", "a/3"]),
        st.builds(Selector, families=st.sampled_from([(), ("rngd",), ("warboy",)]), ids=st.sampled_from([(), ("R*",), ("*0",)])),
        st.sampled_from(["", "4core", "odd"]),
        st.integers(1, 3),
    ),
    max_size=3,
    unique_by=lambda spec: spec.name,
)


def odd_parts(accelerator: Accelerator, kind: str) -> Sequence[str]:
    return {"4core": halves(accelerator, kind), "odd": ["r0", "r1", "r0-r0"]}.get(kind, [])


@given(CARDS, SPECS)
def test_no_two_devices_of_the_node_have_one_id_and_no_card_is_in_two_pools(
    accelerators: list[Accelerator], specs: list[ResourceSpec]
) -> None:
    planned = pools(accelerators, *specs, parts=odd_parts)
    devices = [device for pool in planned.values() for device in pool.devices]
    assert len({device.id for device in devices}) == len(devices)
    assert all(1 <= len(device.id) <= MAX_DEVICE_ID for device in devices)
    owners = {(device.accelerator_id, name) for name, pool in planned.items() for device in pool.devices}
    assert len({id for id, _ in owners}) == len(owners)


@given(CARDS, SPECS, st.randoms())
def test_the_order_in_which_cards_are_found_changes_nothing(
    accelerators: list[Accelerator], specs: list[ResourceSpec], shuffled: random.Random
) -> None:
    planned = pools(accelerators, *specs, parts=odd_parts)
    shuffled.shuffle(accelerators)
    assert pools(accelerators, *specs, parts=odd_parts) == planned
