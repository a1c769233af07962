from dataclasses import replace

import pytest

from npu_agent.core.accelerator import Accelerator, Reading
from npu_agent.core.inventory import UNREAD, Inventory, after_reading, after_scan, forget
from npu_agent.core.moment import Moment

GOOD = Reading(healthy=True)
CARD = Accelerator("card", "sysfs", "rngd", name="npu0", pci_address="0000:6d:00.0")
OTHER = Accelerator("other", "sysfs", "rngd", name="npu1")
UNBOUND = replace(CARD, unusable="no driver is bound to 0000:6d:00.0; load furiosa_rngd")


def at(seconds: float) -> Moment:
    return Moment(seconds, seconds + 1000)


def read(before: Inventory, id: str, reading: Reading, *, now: float, recover_after: int = 2) -> Inventory:
    return after_reading(before, id, reading, now=at(now), recover_after=recover_after)


def scan(before: Inventory, *found: Accelerator, now: float, reading: Reading = GOOD) -> Inventory:
    """Scan, and read what has not been read yet."""
    after: Inventory = after_scan(before, found, now=at(now))
    for id, tracked in after.items():
        if tracked.unread:
            after = read(after, id, reading, now=now)
    return after


def test_a_card_is_unhealthy_until_it_has_been_read() -> None:
    health = after_scan({}, [CARD], now=at(1))["card"].health
    assert (health.healthy, health.reason) == (False, UNREAD)


def test_a_card_that_is_well_when_found_is_healthy_at_once() -> None:
    assert scan({}, CARD, now=1.0)["card"].health.healthy


def test_a_card_that_is_bad_when_found_says_why() -> None:
    health = scan({}, CARD, now=1.0, reading=Reading(False, "alive reads 0"))["card"].health
    assert (health.healthy, health.reason, health.since) == (False, "alive reads 0", 1001.0)


def test_a_card_that_is_missed_stays_as_vanished_and_unhealthy() -> None:
    away = scan(scan({}, CARD, OTHER, now=1.0), OTHER, now=2.0)["card"]
    assert away.vanished_at == 2.0
    assert not away.health.healthy
    assert "npu0 is not there any more" in away.health.reason
    assert away.health.since == 1002.0


def test_a_card_that_stays_away_keeps_the_time_at_which_it_went() -> None:
    away = scan(scan(scan({}, CARD, now=1.0), now=2.0), now=3.0)
    assert away["card"].vanished_at == 2.0


def test_a_card_that_comes_back_has_to_stay_well_first() -> None:
    back = scan(scan(scan({}, CARD, now=1.0), now=2.0), CARD, now=3.0)
    assert back["card"].vanished_at is None
    assert not back["card"].health.healthy
    assert "came back" in back["card"].health.reason
    once = read(back, "card", GOOD, now=4.0)
    assert "came back" in once["card"].health.reason
    well = read(once, "card", GOOD, now=5.0)
    assert well["card"].health.healthy


def test_a_card_that_lost_its_driver_is_missed_while_it_may_be_held_and_then_shown_as_unusable() -> None:
    lost = scan(scan({}, CARD, now=1.0), UNBOUND, now=2.0)
    assert lost["card"].vanished_at == 2.0
    assert lost["card"].health.reason == UNBOUND.unusable
    forgotten = forget(lost, frozenset(), now=at(2.0), linger_s=300)
    assert scan(forgotten, UNBOUND, now=3.0)["card"].accelerator == UNBOUND


def test_an_unusable_card_is_not_read() -> None:
    inventory = scan({}, UNBOUND, now=1.0)
    assert read(inventory, "card", GOOD, now=2.0, recover_after=1) is inventory


def test_what_was_known_of_a_card_s_health_is_remembered_the_newest_first() -> None:
    inventory = scan({}, CARD, now=1)
    inventory = read(inventory, "card", Reading(False, "too hot"), now=2)
    inventory = read(inventory, "card", Reading(False, "dead"), now=3)
    assert [(health.healthy, health.reason) for health in inventory["card"].past] == [(False, "too hot"), (True, "")]


def test_a_card_that_loses_its_reason_to_be_unusable_is_a_new_one() -> None:
    bound = scan(scan({}, UNBOUND, now=1), CARD, now=2)
    assert bound["card"].health.healthy


def test_a_card_that_was_never_usable_goes_at_once_and_may_be_there_under_another_name() -> None:
    inventory = scan(scan({}, UNBOUND, now=1), replace(CARD, id="its-uuid"), now=2)
    assert [(id, tracked.vanished_at) for id, tracked in inventory.items()] == [("its-uuid", None)]


def test_a_vanished_card_is_forgotten_once_nobody_holds_it() -> None:
    away = scan(scan({}, CARD, now=1.0), now=2.0)
    assert forget(away, frozenset({"card"}), now=at(9999.0), linger_s=300) is away
    assert forget(away, frozenset(), now=at(2.0), linger_s=300) == {}


def test_a_vanished_card_stays_for_a_while_where_kubelet_cannot_be_asked() -> None:
    away = scan(scan({}, CARD, now=1.0), now=2.0)
    assert forget(away, None, now=at(301.0), linger_s=300) is away
    assert forget(away, None, now=at(302.0), linger_s=300) == {}


def test_a_reading_that_changes_nothing_leaves_the_inventory_as_it_is() -> None:
    there = scan({}, CARD, now=1.0)
    assert read(there, "card", GOOD, now=2.0, recover_after=1) is there
    assert read(there, "stranger", GOOD, now=2.0, recover_after=1) is there


def test_a_scan_that_sees_nothing_new_keeps_what_is_known_and_one_that_reads_more_keeps_the_health() -> None:
    before = scan({}, CARD, now=1.0)
    assert scan(before, replace(CARD), now=2.0)["card"] is before["card"]
    renamed = scan(before, replace(CARD, name="npu7"), now=2.0)["card"]
    assert renamed == replace(before["card"], accelerator=replace(CARD, name="npu7"))
    unbound = scan({}, UNBOUND, now=1.0)
    assert scan(unbound, replace(UNBOUND), now=2.0)["card"] is unbound["card"]
    assert scan(unbound, replace(UNBOUND, name="npu7"), now=2.0)["card"] == replace(
        unbound["card"], accelerator=replace(UNBOUND, name="npu7")
    )


def test_a_card_that_comes_back_is_unhealthy_since_it_left_and_is_as_it_is_seen_now() -> None:
    away = scan(scan({}, CARD, now=1.0), now=2.0)
    moved = replace(CARD, pci_address="0000:99:00.0")
    back = after_scan(away, [moved], now=at(3.0))["card"]
    assert (back.accelerator, back.vanished_at) == (moved, None)
    assert (back.health.healthy, back.health.since) == (False, 1002.0)


def test_a_card_that_cannot_be_used_has_that_for_its_health_since_it_was_seen() -> None:
    health = after_scan({}, [UNBOUND], now=at(1.0))["card"].health
    assert (health.healthy, health.reason, health.since) == (False, UNBOUND.unusable, 1001.0)
    assert after_scan({}, [CARD], now=at(1.0))["card"].health.since == 1001.0


def test_a_newcomer_has_its_own_doubts_and_those_of_others_are_not_its() -> None:
    found = after_scan({}, [CARD, OTHER], now=at(1.0), doubts={"card": frozenset({"absent"})})
    assert {id: tracked.may_be for id, tracked in found.items()} == {"card": frozenset({"absent"}), "other": frozenset()}


def test_one_card_that_goes_without_a_trace_takes_no_other_with_it() -> None:
    other = scan({}, UNBOUND, OTHER, now=1.0)
    after = scan(other, OTHER, now=2.0)
    assert list(after) == ["other"]
    assert after["other"] is other["other"]


def test_a_card_that_vanishes_before_it_was_read_is_not_waiting_to_be_read_and_is_called_by_what_is_known() -> None:
    nameless, bare = replace(CARD, name=""), Accelerator("bare", "sysfs", "rngd")
    away = after_scan(after_scan({}, [nameless, bare], now=at(1.0)), [], now=at(2.0))
    assert [(tracked.unread, tracked.health.healthy, tracked.vanished_at) for tracked in away.values()] == [(False, False, 2.0)] * 2
    assert [tracked.health.reason.split()[0] for tracked in away.values()] == ["0000:6d:00.0", "bare"]


def test_what_a_card_was_before_is_remembered_without_how_far_its_recovery_had_come() -> None:
    bad = read(scan({}, CARD, now=1.0), "card", Reading(False, "too hot"), now=2.0, recover_after=3)
    assert bad["card"].health.since == 1002.0
    recovering = read(bad, "card", GOOD, now=3.0, recover_after=3)
    assert recovering["card"].health.good_readings == 1
    worse = read(recovering, "card", Reading(False, "dead"), now=4.0, recover_after=3)["card"]
    assert [(health.reason, health.good_readings) for health in worse.past[:1]] == [("too hot", 0)]
    assert scan(recovering, now=4.0)["card"].past[0].good_readings == 0


@pytest.mark.parametrize("jump", [3600.0, -86400.0])
def test_a_calendar_that_jumps_changes_no_duration(jump: float) -> None:
    away = scan(scan({}, CARD, now=1.0), now=2.0)
    assert forget(away, None, now=Moment(301.0, 1301.0 + jump), linger_s=300) is away
    assert forget(away, None, now=Moment(302.0, 1302.0 + jump), linger_s=300) == {}
