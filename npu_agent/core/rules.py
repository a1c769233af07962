"""Marks for the fields of a struct that is read from what people write: what a type alone cannot say, for `Annotated`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Check:
    """A rule for the value of a field: it takes the value and returns what is wrong, empty if nothing is."""

    mistake: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class OneOrMany:
    """A list that may be written as its only item: `families: rngd` for `families: [rngd]`."""


ONE_OR_MANY = OneOrMany()
