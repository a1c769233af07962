"""Health over time: quick to fail, slow to heal, and never in doubt about why and since when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.core.accelerator import Reading
from npu_agent.core.health import Health, first_health, observe

GOOD = Reading(healthy=True)
DEAD = Reading(healthy=False, reason="alive reads 0")
HOT = Reading(healthy=False, reason="it is too hot")


def after(readings: str, recover_after: int = 3) -> Health:
    """The health after `readings`, one each second from 0 on: "+" is a good one, "-" a dead card, "h" a hot one."""
    meaning = {"+": GOOD, "-": DEAD, "h": HOT}
    health = first_health(meaning[readings[0]], now=0.0)
    for now, letter in enumerate(readings[1:], 1):
        health = observe(health, meaning[letter], now=float(now), recover_after=recover_after)
    return health


@pytest.mark.parametrize(
    ("readings", "healthy", "since", "reason"),
    [
        ("+", True, 0, ""),
        ("-", False, 0, "alive reads 0"),
        ("++++", True, 0, ""),
        ("++-", False, 2, "alive reads 0"),
        ("+--", False, 1, "alive reads 0"),
        ("+-h", False, 1, "it is too hot"),
        ("+-++", False, 1, "alive reads 0"),
        ("+-+++", True, 4, ""),
        ("+-++-++", False, 1, "alive reads 0"),
        ("+-++-+++", True, 7, ""),
        ("+-+++-", False, 5, "alive reads 0"),
        ("-+++", True, 3, ""),
    ],
)
def test_one_bad_reading_fails_a_card_and_three_good_ones_in_a_row_heal_it(readings: str, healthy: bool, since: float, reason: str) -> None:
    health = after(readings)
    assert (health.healthy, health.since, health.reason) == (healthy, since, reason)


def test_one_good_reading_heals_where_one_is_enough() -> None:
    assert after("-+", recover_after=1) == Health(True, "", 1.0)


def test_a_card_that_stays_well_stays_equal_to_itself() -> None:
    assert after("++++++++") == after("+")


@given(st.text("+-h", min_size=1, max_size=30), st.integers(1, 5))
def test_a_card_is_well_if_its_last_readings_were_good_for_long_enough(readings: str, recover_after: int) -> None:
    health = after(readings, recover_after)
    good_at_the_end = len(readings) - len(readings.rstrip("+"))
    assert health.healthy == (good_at_the_end == len(readings) or good_at_the_end >= recover_after)
    assert health.healthy == (health.reason == "")
    assert 0 <= health.since < len(readings)
    assert health.good_readings == (0 if health.healthy else good_at_the_end)
