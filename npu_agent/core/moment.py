"""A moment on two clocks: one that cannot jump, by which durations are measured, and the calendar, which people are shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Moment:
    """`at` is in seconds of a monotonic clock, `date` in seconds since the epoch."""

    at: float
    date: float
