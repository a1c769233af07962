"""The health of a card: each rule of its family against what its attributes say now. It is for threads."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from npu_agent.backends.sysfs.attributes import Place, read
from npu_agent.core.accelerator import Reading
from npu_agent.families.attributes import split_root
from npu_agent.families.health import HealthRule

HEALTHY = Reading(healthy=True)
_NUMBER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,20}(\.[0-9]{1,20})?)")


@dataclass(slots=True)
class Judge:
    """A rule and the attribute of one card that it is about. What its counter was is kept from one reading to the next.

    `path` is where the attribute is on the host whose root is `prefix`, None if it is not there, and `other` that of what its number must
    reach.
    """

    rule: HealthRule
    attribute: str
    prefix: str
    path: str | None
    other: str | None = None
    last: str | None = field(default=None, compare=False)
    changed: float | None = field(default=None, compare=False)

    @property
    def needs_entry(self) -> bool:
        """Whether it is bad as soon as the card's entry is gone."""
        return not self.rule.warn and self.rule.missing == "unhealthy" and not split_root(self.attribute)[0]

    def wrong(self, now: float) -> str:
        """Return what is wrong at `now`, in seconds of a clock that only goes on; empty if nothing is. Raises ShortOfResources.

        The text does not change while the cause stays: it names no number that grows.
        """
        rule = self.rule
        name = f"{rule.after.strip(' :=')} of {self.attribute}" if rule.after else self.attribute
        try:
            text = read(self.prefix, self.path, rule.after, rule.pattern, is_found="*" in self.attribute) if self.path else None
        except FileNotFoundError:
            text = None
        except OSError as error:
            return "" if rule.warn else f"{name} cannot be read: {error.strerror}"
        if text is None:
            return "" if rule.warn or rule.missing == "healthy" else f"{name} is missing"
        said = self._judged(text, now)
        return f"{name} {said}" + (f"; {rule.advice}" if rule.advice else "") if said else ""

    def _judged(self, text: str, now: float) -> str:
        rule = self.rule
        if rule.healthy and not _among(text, rule.healthy, rule.any_case):
            return f"reads {text!r}, and healthy is {' or '.join(map(repr, rule.healthy))}"
        if rule.unhealthy and _among(text, rule.unhealthy, rule.any_case):
            return f"reads {text!r}, which is unhealthy"
        if rule.counter == "beating":
            return self._beaten(text, now)
        if rule.counter or "at_least" in rule.ways:
            number = number_in(text)
            if number is None:
                return f"reads {text!r}, which does not begin with a number"
            return self._grown(text, number, now) if rule.counter else self._out_of_range(number)
        return ""

    def _beaten(self, text: str, now: float) -> str:
        if self.changed is None or text != self.last:
            self.last, self.changed = text, now
        return f"has not changed for {self.rule.within_s:g} s" if now - self.changed >= self.rule.within_s else ""

    def _grown(self, text: str, number: float, now: float) -> str:
        before = number_in(self.last) if self.last is not None else None
        self.last = text
        if before is not None and number > before:
            self.changed = now
        return f"has grown within {self.rule.within_s:g} s" if self.changed is not None and now - self.changed < self.rule.within_s else ""

    def _out_of_range(self, number: float) -> str:
        rule = self.rule
        least = rule.at_least if rule.at_least is not None else self._other_number()
        if least is not None and number < least:
            return f"is below {least:g}" + (f", which is {rule.at_least_of}" if rule.at_least is None else "")
        return f"is above {rule.at_most:g}" if rule.at_most is not None and number > rule.at_most else ""

    def _other_number(self) -> float | None:
        try:
            return number_in(read(self.prefix, self.other) or "") if self.other else None
        except OSError:  # what there is nothing to compare with is not too little
            return None


def judges(rules: Sequence[HealthRule], place: Place) -> tuple[Judge, ...]:
    """Return the rules with the attributes of the card that is at `place`. Raises OSError."""
    made = []
    for rule in rules:
        attribute, path = place.first(rule.attribute)
        other = place.path(rule.at_least_of) if rule.at_least_of else None
        made.append(Judge(rule, attribute, place.prefix, path, other))
    return tuple(made)


def number_in(text: str) -> float | None:
    """Return the number that a text begins with, as in "32.0 GT/s PCIe", None if there is none."""
    found = _NUMBER.match(text)
    if found is None:
        return None
    return float(int(found[0], 16)) if "x" in found[0].lower() else float(found[0])


def _among(text: str, values: Sequence[str], any_case: bool) -> bool:
    return text in values or (any_case and text.casefold() in [value.casefold() for value in values])
