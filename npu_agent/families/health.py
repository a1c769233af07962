"""What of a card's attributes says that it is well."""

from typing import Literal

import msgspec

from npu_agent.families.texts import Attribute, Values


class HealthRule(msgspec.Struct, frozen=True, kw_only=True):
    """A card is healthy while the attribute has one of the values. What cannot be read is unhealthy."""

    attribute: Attribute
    healthy: Values
    missing: Literal["unhealthy", "healthy"] = "unhealthy"
    """What it means if there is no such attribute, as with an older driver."""
