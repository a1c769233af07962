"""The taint of nodes with cards among the taints of others: from the list that a node has to the list that it is to have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Taints = Sequence[Mapping[str, Any]]
"""As in a node's spec.taints. What is not ours is handed on as it came, fields that we do not know included."""

ANNOTATION = "npu-agent.io/taint"
"""Where a node keeps which taint is the agent's: taints have no owner of their own (`listType=atomic`, api/core/v1/types.go)."""


@dataclass(frozen=True, slots=True)
class Taint:
    """A taint. Kubernetes tells two of them apart by key and effect (ValidateTaintsInNodeTaints)."""

    key: str
    value: str
    effect: str

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}"

    @classmethod
    def parse(cls, text: str) -> "Taint | None":
        """Return the taint that `str` made `text` of, None if it is none."""
        key, equals, rest = text.partition("=")
        value, colon, effect = rest.rpartition(":")
        return cls(key, value, effect) if key and equals and colon and effect else None

    def is_place_of(self, taint: Mapping[str, Any]) -> bool:
        """Return whether `taint` has the place of this one, whatever its value."""
        return (taint.get("key"), taint.get("effect")) == (self.key, self.effect)

    def is_same(self, taint: Mapping[str, Any]) -> bool:
        return self.is_place_of(taint) and taint.get("value", "") == self.value


@dataclass(frozen=True, slots=True)
class Change:
    """The taints that a node is to have, and which of them is ours then, None if none is.

    `problem` says what keeps ours from being there, empty if nothing does.
    """

    taints: Taints
    ours: Taint | None
    problem: str = ""


def changed(taints: Taints, wanted: Taint | None, ours: Taint | None) -> Change:
    """Return the taints with `wanted` among them, and without `ours`, which was put there before, if that is another one.

    Nothing else changes: no taint of anybody else goes, is replaced or moves. One of somebody else in the place of ours stays, and
    one that is just like ours is left to whom it belongs.
    """
    kept = [taint for taint in taints if ours is None or ours == wanted or not ours.is_same(taint)]
    if wanted is None:
        return Change(kept, None)
    there = next((taint for taint in kept if wanted.is_place_of(taint)), None)
    if there is None:
        mine = {"key": wanted.key, "value": wanted.value, "effect": wanted.effect}
        return Change([*kept, mine if wanted.value else {"key": wanted.key, "effect": wanted.effect}], wanted)
    if wanted.is_same(there):
        return Change(kept, wanted if ours == wanted else None)
    found = Taint(wanted.key, str(there.get("value", "")), wanted.effect)
    return Change(kept, None, f"the node has the taint {found} of somebody else, so {wanted} cannot be put there; remove one of them")
