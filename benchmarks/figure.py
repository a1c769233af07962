"""A figure: what was measured, what it is to be at the most, and the floor that no agent in Python could pass on this machine."""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, whose name ends in its unit.

    `floor` is measured in the same run, and `floor_is` says what of. `rounds` were measured; `p99` is the 99th percentile of them
    where they are enough for one.
    """

    name: str
    value: float
    target: float
    floor: float
    floor_is: str
    rounds: int
    p99: float | None = None

    @property
    def is_met(self) -> bool:
        return self.value <= self.target


def of_rounds(name: str, values: Sequence[float], target: float, floors: Sequence[float], floor_is: str) -> Figure:
    """Return the figure that is the median of `values`, beside the median of `floors`."""
    p99 = percentile(values, 99) if len(values) >= 100 else None
    return Figure(name, percentile(values, 50), target, percentile(floors, 50), floor_is, len(values), p99)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of `values` that at least `percent` % of them do not exceed."""
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def table(figures: Iterable[Figure]) -> str:
    """Return the figures as lines for people."""
    rows: list[tuple[str, ...]] = [("figure", "value", "target", "floor", "p99", "rounds", "", "the floor is")]
    for figure in figures:
        numbers = (_short(number) for number in (figure.value, figure.target, figure.floor, figure.p99))
        rows.append((figure.name, *numbers, str(figure.rounds), "" if figure.is_met else "missed", figure.floor_is))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for name, *cells, floor_is in rows:
        middle = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths[1:-1], strict=True))
        lines.append(f"{name.ljust(widths[0])}  {middle}  {floor_is}".rstrip())
    return "\n".join(lines)


def write(figures: Iterable[Figure], path: Path) -> None:
    """Write the figures for machines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([{**asdict(figure), "met": figure.is_met} for figure in figures], indent=2) + "\n", encoding="utf-8")


def _short(number: float | None) -> str:
    if number is None:
        return ""
    return f"{number:.3g}" if number < 100 else f"{number:.0f}"
