"""What of a card's attributes says that it is well, and what an administrator should know all the same."""

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from npu_agent.families.attributes import AFTER_IN_WORDS, ATTRIBUTE_IN_WORDS, PATTERN_IN_WORDS, Attribute, Attributes
from npu_agent.families.patterns import Pattern
from npu_agent.families.texts import Text, Values


class HealthRule(msgspec.Struct, frozen=True, kw_only=True):
    """A card is healthy while the value is as the rule says, in one way. What cannot be read is unhealthy."""

    attribute: Annotated[Attributes, Meta(description=ATTRIBUTE_IN_WORDS)]
    after: Annotated[Text, Meta(description=AFTER_IN_WORDS)] = ""
    pattern: Annotated[Pattern, Meta(description=PATTERN_IN_WORDS)] = ""
    healthy: Annotated[Values, Meta(description="the values that mean healthy; any other is unhealthy")] = []
    unhealthy: Annotated[Values, Meta(description="the values that mean unhealthy; any other is healthy")] = []
    any_case: Annotated[bool, Meta(description="whether large and small letters are the same in them")] = False
    at_least: Annotated[float, Meta(description="the smallest number that is healthy; the value may go on behind it")] | None = None
    at_most: Annotated[float, Meta(description="the largest number that is healthy")] | None = None
    at_least_of: Annotated[Attribute, Meta(description="an attribute whose number the value must reach")] | None = None
    counter: (
        Annotated[
            Literal["steady", "beating"],
            Meta(description="`steady`: a number that must not grow; `beating`: a value that must change from one reading to another"),
        ]
        | None
    ) = None
    within_s: Annotated[
        float,
        Meta(ge=1, le=86400, description="for so many seconds is a card unhealthy after its counter grew, or healthy without a beat"),
    ] = 60.0
    missing: Annotated[
        Literal["unhealthy", "healthy"],
        Meta(description="what it means that there is no such attribute: `healthy` where only newer drivers have it"),
    ] = "unhealthy"
    warn: Annotated[bool, Meta(description="whether the card stays healthy and has a notice instead")] = False
    advice: Annotated[Text, Meta(description="what to do, told behind the reason")] = ""

    @property
    def ways(self) -> list[str]:
        """The ways of judging that the rule names; a right one has one."""
        return list(self._ways())

    def _ways(self) -> Iterator[str]:
        yield from (name for name in ("healthy", "unhealthy", "counter") if getattr(self, name))
        if any(limit is not None for limit in (self.at_least, self.at_most, self.at_least_of)):
            yield "at_least"
