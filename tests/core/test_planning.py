"""From cards and configuration to pools."""

import fnmatch
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from npu_agent.core.accelerator import WHOLE, Accelerator, Part
from npu_agent.core.allocations import Allocation, Conflicts
from npu_agent.core.health import Health
from npu_agent.core.identity import MAX_DEVICE_ID
from npu_agent.core.inventory import Inventory, Tracked
from npu_agent.core.planning import LeftOut, Omission, Plan, Wanted, plan
from npu_agent.core.pool import Pool
from npu_agent.core.selection import ResourceSpec, Selector

WELL = Health(healthy=True, reason="", since=0.0)
NPU = "furiosa.ai/npu"


def card(id: str, family: str = "rngd", **known: Any) -> Accelerator:
    return replace(Accelerator(id, "sysfs", family), **known)


RNGD = card("R", numa_node=1, pci_address="0000:6d:00.0", location=("numa1", "0000:6a", "0000:6d:00.0"))
WARBOY = card("W", "warboy", numa_node=0, pci_address="0000:01:00.0", location=("numa0", "0000:00", "0000:01:00.0"))
LOOSE = card("L", backend="fake")
ALL = [RNGD, WARBOY, LOOSE]


HALVES = (Part("4core", "pe0-3"), Part("4core", "pe4-7"))


def inventory_of(accelerators: Iterable[Accelerator], health: Health = WELL) -> Inventory:
    return {accelerator.id: Tracked(accelerator, health) for accelerator in accelerators}


def planned(accelerators: Sequence[Accelerator], *specs: ResourceSpec, excluded: Selector | None = None, **how: Any) -> Plan:
    return plan(inventory_of(accelerators), Wanted(specs, excluded), **how)


def pools(accelerators: Sequence[Accelerator], *specs: ResourceSpec, **how: Any) -> Mapping[str, Pool]:
    return planned(accelerators, *specs, **how).pools


def ids(pool: Pool) -> list[str]:
    return [device.id for device in pool.devices]


def test_the_first_resource_that_selects_a_card_takes_it() -> None:
    made = pools(ALL, ResourceSpec("furiosa.ai/rngd", Selector(families=("rngd",))), ResourceSpec(NPU))
    assert {name: ids(pool) for name, pool in made.items()} == {"furiosa.ai/rngd": ["L", "R"], NPU: ["W"]}


def test_excluded_and_unusable_cards_are_in_no_pool() -> None:
    unbound = replace(RNGD, unusable="no driver is bound to 0000:6d:00.0; load furiosa_rngd")
    assert ids(pools([unbound, WARBOY, LOOSE], ResourceSpec(NPU), excluded=Selector(ids=("W",)))[NPU]) == ["L"]


def test_a_resource_without_a_card_has_an_empty_pool() -> None:
    assert pools([], ResourceSpec(NPU, policy="spread")) == {NPU: Pool(NPU, (), "spread")}


def test_a_card_becomes_one_device_each_of_its_parts_and_of_the_replicas_of_those() -> None:
    assert ids(pools([RNGD], ResourceSpec(NPU, replicas=2))[NPU]) == ["R_r0", "R_r1"]
    divided = replace(RNGD, parts=(WHOLE, *HALVES))
    assert ids(pools([divided, WARBOY], ResourceSpec(NPU, partition="4core"))[NPU]) == ["R_pe0-3", "R_pe4-7"]
    made = pools([divided], ResourceSpec(NPU, partition="4core", replicas=2))[NPU]
    assert [(device.id, device.partition, device.replica) for device in made.devices] == [
        ("R_pe0-3_r0", "pe0-3", 0),
        ("R_pe0-3_r1", "pe0-3", 1),
        ("R_pe4-7_r0", "pe4-7", 0),
        ("R_pe4-7_r1", "pe4-7", 1),
    ]
    assert {(device.accelerator_id, device.location, device.numa_node) for device in made.devices} == {("R", RNGD.location, 1)}


def test_a_device_has_the_health_of_its_card_and_not_how_far_its_recovery_has_come() -> None:
    failed = Health(healthy=False, reason="alive reads 0", since=7.0, good_readings=2)
    made = plan({"R": Tracked(RNGD, failed), "L": Tracked(LOOSE, WELL)}, Wanted([ResourceSpec(NPU)])).pools[NPU]
    assert {device.id: device.health for device in made.devices} == {"L": WELL, "R": replace(failed, good_readings=0)}


def test_a_card_that_is_called_as_a_part_of_another_one_keeps_its_id() -> None:
    """kubelet knows a device by its id alone, so the part gets another."""
    made = pools([card("R"), card("R_r0", "warboy")], ResourceSpec("a/b", Selector(families=("rngd",)), replicas=1), ResourceSpec(NPU))
    assert ids(made["a/b"]) + ids(made[NPU]) == ["R", "R_r0"]
    made = pools([card("R"), card("R_r0", "warboy")], ResourceSpec("a/b", Selector(families=("rngd",)), replicas=2), ResourceSpec(NPU))
    assert ids(made[NPU]) == ["R_r0"]
    assert [device.accelerator_id for device in made["a/b"].devices] == ["R", "R"]
    assert "R_r1" in ids(made["a/b"])


def test_the_generation_grows_when_a_pool_changes_and_only_then() -> None:
    first = planned([RNGD], ResourceSpec(NPU))
    again = planned([RNGD], ResourceSpec(NPU), previous=first)
    assert again.pools[NPU] is first.pools[NPU]
    more = planned([RNGD, LOOSE], ResourceSpec(NPU), previous=again)
    assert more.pools[NPU].generation == 1
    assert planned([RNGD], ResourceSpec(NPU), previous=more).pools[NPU].generation == 2


def test_a_card_of_which_no_device_is_made_is_left_out_with_the_reason() -> None:
    unbound = replace(RNGD, unusable="no driver is bound")
    made = planned([unbound, WARBOY, LOOSE], ResourceSpec(NPU, Selector(families=("rngd",)), "4core"), excluded=Selector(ids=("W",)))
    assert {id: left_out.omission for id, left_out in made.left_out.items()} == {
        "R": Omission.UNUSABLE,
        "W": Omission.EXCLUDED,
        "L": Omission.UNSELECTED,
    }
    assert made.left_out["L"].reason == "furiosa.ai/npu is made of parts of the kind '4core', and rngd has none"
    nobody = planned([WARBOY], ResourceSpec(NPU, Selector(families=("rngd",))))
    assert nobody.left_out["W"].reason == "no resource of the configuration selects it"


def test_only_a_resource_with_a_card_of_a_backend_that_prepares_asks_for_it() -> None:
    specs = ResourceSpec("a/sysfs", Selector(backends=("sysfs",))), ResourceSpec("a/fake")
    made = pools(ALL, *specs, preparing={"fake"})
    assert {name: pool.pre_start for name, pool in made.items()} == {"a/sysfs": False, "a/fake": True}


def test_a_part_that_cannot_be_used_is_unhealthy_with_its_own_reason() -> None:
    broken = replace(RNGD, parts=(WHOLE, HALVES[0], replace(HALVES[1], unusable="the card is set up for 2core")))
    first, second = pools([broken], ResourceSpec(NPU, partition="4core"))[NPU].devices
    assert first.health.healthy
    assert (second.health.healthy, second.health.reason) == (False, "the card is set up for 2core")


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


ODD = (WHOLE, *HALVES, *(Part("odd", name) for name in ("r0", "r1", "r0-r0")))


def with_odd_parts(accelerators: Iterable[Accelerator]) -> list[Accelerator]:
    return [replace(accelerator, parts=ODD) for accelerator in accelerators]


@given(CARDS, SPECS)
def test_no_two_devices_of_the_node_have_one_id_and_no_card_is_in_two_pools(
    accelerators: list[Accelerator], specs: list[ResourceSpec]
) -> None:
    made = pools(with_odd_parts(accelerators), *specs)
    devices = [device for pool in made.values() for device in pool.devices]
    assert len({device.id for device in devices}) == len(devices)
    assert all(1 <= len(device.id) <= MAX_DEVICE_ID for device in devices)
    owners = {(device.accelerator_id, name) for name, pool in made.items() for device in pool.devices}
    assert len({id for id, _ in owners}) == len(owners)


@given(CARDS, SPECS, st.randoms())
def test_the_order_in_which_cards_are_found_changes_nothing(
    accelerators: list[Accelerator], specs: list[ResourceSpec], shuffled: random.Random
) -> None:
    made = pools(with_odd_parts(accelerators), *specs)
    shuffled.shuffle(accelerators)
    assert pools(with_odd_parts(accelerators), *specs) == made


def test_what_of_a_selector_matches_nothing_on_this_host_is_in_the_plan() -> None:
    made = planned(ALL, ResourceSpec(NPU, Selector(families=("rngd",))), excluded=Selector(ids=("Q",)))
    assert made.unmatched == {"exclude": "ids: Q"}
    assert planned(ALL, ResourceSpec(NPU), previous=made).unmatched == {}


def test_each_card_that_no_resource_has_says_why() -> None:
    broken = replace(LOOSE, unusable="no driver is bound")
    assert planned([RNGD, broken], excluded=Selector(ids=("R",))).left_out == {
        "R": LeftOut(Omission.EXCLUDED, "the configuration leaves it out"),
        "L": LeftOut(Omission.UNUSABLE, "no driver is bound"),
    }
    assert planned([RNGD]).left_out == {"R": LeftOut(Omission.UNSELECTED, "no resource of the configuration selects it")}
    divided = replace(RNGD, parts=HALVES)
    assert planned([divided], ResourceSpec(NPU)).left_out == {"R": LeftOut(Omission.UNSELECTED, "it cannot be handed out whole")}
    text = f"{NPU} is made of parts of the kind '2core', and rngd has none"
    assert planned([divided], ResourceSpec(NPU, partition="2core")).left_out == {"R": LeftOut(Omission.UNSELECTED, text)}


def test_a_device_that_somebody_may_still_hold_is_unhealthy_with_the_reason_and_the_others_are_not() -> None:
    spec, held = ResourceSpec(NPU), Conflicts([Allocation("old/npu", "R", "R")])
    free, withheld = pools([RNGD, WARBOY], spec, conflicts=held)[NPU].devices[::-1]
    reason = "it may still be held as R of old/npu"
    assert (free.withheld, free.health) == ("", WELL)
    assert (withheld.withheld, withheld.health) == (reason, Health(False, f"withheld: {reason}", WELL.since))
    hot = Health(False, "too hot", 1.0)
    (bad,) = plan(inventory_of([RNGD], hot), Wanted([spec]), conflicts=held).pools[NPU].devices
    assert (bad.withheld, bad.health) == (reason, hot)
    same = Conflicts([Allocation(NPU, "R", "R")])
    assert [device.withheld for device in pools([RNGD], spec, conflicts=same)[NPU].devices] == [""]
    newcomer = {"R": Tracked(RNGD, WELL, may_be=frozenset({"A"}))}
    (doubted,) = plan(newcomer, Wanted([spec]), conflicts=Conflicts([Allocation(NPU, "A", "A")])).pools[NPU].devices
    assert doubted.withheld == f"it may be the card that is held as A of {NPU}, under another name"


def test_what_did_not_change_is_the_same_object_and_a_pool_that_did_has_the_next_generation() -> None:
    spec, nothing = ResourceSpec(NPU), Selector(ids=("none",))
    first = planned([RNGD, WARBOY], spec, excluded=nothing)
    again = planned([RNGD, WARBOY], spec, excluded=nothing, previous=first)
    assert again.pools[NPU] is first.pools[NPU]
    assert again.unmatched is first.unmatched
    fewer = planned([RNGD, replace(WARBOY, numa_node=7)], spec, excluded=nothing, previous=first)
    assert fewer.pools[NPU].generation == first.pools[NPU].generation + 1
    assert fewer.pools[NPU].devices[0] is first.pools[NPU].devices[0]
    assert fewer.pools[NPU].devices[1].numa_node == 7
    assert planned([RNGD, WARBOY], spec, previous=fewer).pools[NPU].generation == fewer.pools[NPU].generation + 1


def test_a_part_that_cannot_be_used_is_unhealthy_since_its_card_is_what_it_is() -> None:
    broken = replace(RNGD, parts=(replace(HALVES[0], unusable="a core is fused off"), HALVES[1]))
    since = replace(WELL, since=7.0)
    pool = plan(inventory_of([broken], since), Wanted([ResourceSpec(NPU, partition="4core")])).pools[NPU]
    assert [device.health for device in pool.devices] == [Health(False, "a core is fused off", 7.0), since]
