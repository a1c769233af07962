"""What a card does: numbers that its driver counts or measures, each with what it is and in which unit."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from npu_agent.families.attributes import AFTER_IN_WORDS, ATTRIBUTE_IN_WORDS, PATTERN_IN_WORDS, Attributes
from npu_agent.families.patterns import Pattern
from npu_agent.families.texts import Text

MEASURES = {
    "utilisation": {"%": 0.01},
    "busy-time": {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9},
    "memory-used": {"B": 1.0, "KiB": 1024.0, "MiB": 1048576.0},
    "memory-total": {"B": 1.0, "KiB": 1024.0, "MiB": 1048576.0},
    "temperature": {"C": 1.0, "mC": 1e-3},
    "power": {"W": 1.0, "mW": 1e-3, "uW": 1e-6},
    "energy": {"J": 1.0, "mJ": 1e-3, "uJ": 1e-6},
    "frequency": {"Hz": 1.0, "kHz": 1e3, "MHz": 1e6},
    "errors": {"1": 1.0},
    "events": {"1": 1.0},
}
"""What can be measured, and the units that a driver may have, each with its size in seconds, bytes, °C, W, J, Hz or parts of one."""

COUNTERS = ("busy-time", "energy", "errors", "events")
"""The measures that only grow. All others are as they are now."""


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """A number that says what a card does."""

    measure: Annotated[
        Literal[
            "utilisation", "busy-time", "memory-used", "memory-total", "temperature", "power", "energy", "frequency", "errors", "events"
        ],
        Meta(description="what it is; times, energies, errors and events are counters, all others are as they are now"),
    ]
    attribute: Annotated[Attributes, Meta(description=ATTRIBUTE_IN_WORDS)]
    after: Annotated[Text, Meta(description=AFTER_IN_WORDS)] = ""
    pattern: Annotated[Pattern, Meta(description=PATTERN_IN_WORDS)] = ""
    unit: Annotated[
        Literal["%", "s", "ms", "us", "ns", "B", "KiB", "MiB", "C", "mC", "W", "mW", "uW", "J", "mJ", "uJ", "Hz", "kHz", "MHz", "1"],
        Meta(description="in which unit the driver tells it; `1` for what is counted"),
    ]
    part: Annotated[Text, Meta(description="of which part of the card, such as `core0`; left out for the whole")] = ""

    @property
    def kind(self) -> str:
        """`counter` for what only grows, else `gauge`."""
        return "counter" if self.measure in COUNTERS else "gauge"
