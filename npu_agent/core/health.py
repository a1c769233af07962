"""Health of a device over time: one bad reading fails it, several good ones in a row bring it back."""

from dataclasses import dataclass, replace

from npu_agent.core.accelerator import Reading


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of a device's health.

    `reason` is empty while healthy, else a sentence that an administrator can act on ("alive reads 0"). `since` is the date of the
    last change between healthy and not, in seconds since the epoch. `good_readings` counts readings in a row since the last bad
    one; it stays 0 while healthy, so that a card that stays well stays equal to itself.
    """

    healthy: bool
    reason: str
    since: float
    good_readings: int = 0


def first_health(reading: Reading, *, now: float) -> Health:
    """Return the health that a first reading shows: a card that is well when found needs no proof over time."""
    return Health(reading.healthy, reading.reason, now)


def observe(health: Health, reading: Reading, *, now: float, recover_after: int) -> Health:
    """Return the health after `reading`.

    A bad reading fails the device at once, because a pod placed on it would fail. `recover_after` (≥ 1) good readings in a row
    bring it back, because a card that flaps is worse than one that is away.
    """
    if not reading.healthy:
        since = now if health.healthy else health.since
        return Health(healthy=False, reason=reading.reason, since=since)
    if health.healthy:
        return health
    good_readings = health.good_readings + 1
    if good_readings >= recover_after:
        return Health(healthy=True, reason="", since=now)
    return replace(health, good_readings=good_readings)
