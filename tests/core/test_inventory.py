from dataclasses import replace

from npu_agent.core.accelerator import Accelerator, Reading
from npu_agent.core.inventory import Tracked, after_reading, after_scan, forget, fresh

GOOD = Reading(healthy=True)
CARD = Accelerator("card", "sysfs", "rngd", name="npu0", pci_address="0000:6d:00.0")
OTHER = Accelerator("other", "sysfs", "rngd", name="npu1")
UNBOUND = replace(CARD, unusable="no driver is bound to 0000:6d:00.0; load furiosa_rngd")


def scan(before: dict[str, Tracked], *found: Accelerator, now: float, reading: Reading = GOOD) -> dict[str, Tracked]:
    return after_scan(before, found, {card.id: reading for card in found}, now=now, recover_after=2)


def test_a_card_that_is_well_when_found_is_healthy_at_once() -> None:
    assert scan({}, CARD, now=1.0)["card"].health.healthy


def test_a_card_that_is_bad_when_found_says_why() -> None:
    health = scan({}, CARD, now=1.0, reading=Reading(False, "alive reads 0"))["card"].health
    assert (health.healthy, health.reason, health.since) == (False, "alive reads 0", 1.0)


def test_a_card_that_is_missed_stays_as_vanished_and_unhealthy() -> None:
    away = scan(scan({}, CARD, OTHER, now=1.0), OTHER, now=2.0)["card"]
    assert away.vanished_at == 2.0
    assert not away.health.healthy
    assert "npu0 is not there any more" in away.health.reason
    assert away.health.since == 2.0


def test_a_card_that_stays_away_keeps_the_time_at_which_it_went() -> None:
    away = scan(scan(scan({}, CARD, now=1.0), now=2.0), now=3.0)
    assert away["card"].vanished_at == 2.0


def test_a_card_that_comes_back_has_to_stay_well_first() -> None:
    back = scan(scan(scan({}, CARD, now=1.0), now=2.0), CARD, now=3.0)
    assert back["card"].vanished_at is None
    assert not back["card"].health.healthy
    assert "came back" in back["card"].health.reason
    well = after_reading(back, "card", GOOD, now=4.0, recover_after=2)
    assert well["card"].health.healthy


def test_a_card_that_lost_its_driver_is_missed_while_it_may_be_held_and_then_shown_as_unusable() -> None:
    lost = scan(scan({}, CARD, now=1.0), UNBOUND, now=2.0)
    assert lost["card"].vanished_at == 2.0
    assert lost["card"].health.reason == UNBOUND.unusable
    forgotten = forget(lost, frozenset(), now=2.0, linger_s=300)
    assert scan(dict(forgotten), UNBOUND, now=3.0)["card"].accelerator == UNBOUND


def test_an_unusable_card_is_not_read() -> None:
    assert fresh({}, [UNBOUND]) == []
    inventory = scan({}, UNBOUND, now=1.0)
    assert after_reading(inventory, "card", GOOD, now=2.0, recover_after=1) is inventory


def test_only_new_and_returned_cards_need_a_first_reading() -> None:
    there = scan({}, CARD, now=1.0)
    assert fresh(there, [CARD, OTHER]) == [OTHER]
    assert fresh(scan(there, now=2.0), [CARD]) == [CARD]


def test_a_vanished_card_is_forgotten_once_nobody_holds_it() -> None:
    away = scan(scan({}, CARD, now=1.0), now=2.0)
    assert forget(away, frozenset({"card"}), now=9999.0, linger_s=300) is away
    assert forget(away, frozenset(), now=2.0, linger_s=300) == {}


def test_a_vanished_card_stays_for_a_while_where_kubelet_cannot_be_asked() -> None:
    away = scan(scan({}, CARD, now=1.0), now=2.0)
    assert forget(away, None, now=301.0, linger_s=300) is away
    assert forget(away, None, now=302.0, linger_s=300) == {}


def test_a_reading_that_changes_nothing_leaves_the_inventory_as_it_is() -> None:
    there = scan({}, CARD, now=1.0)
    assert after_reading(there, "card", GOOD, now=2.0, recover_after=1) is there
    assert after_reading(there, "stranger", GOOD, now=2.0, recover_after=1) is there
