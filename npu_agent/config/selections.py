"""What resources select, against what the configured backends know: names and partitions that nothing can ever have."""

from collections.abc import Iterator, Mapping, Sequence

from npu_agent.config.configuration import DEFAULT, Configuration
from npu_agent.core.selection import ANYTHING, Selector, matches_any
from npu_agent.core.text import printable
from npu_agent.schema.mistakes import MAX_SHOWN, Mistake, advice, listed, shown, there_are

Kinds = Mapping[str, Sequence[str]]
"""For each family of a backend, the kinds of partition that its accelerators have. A backend without any does not say what it knows."""


def selection_mistakes(configuration: Configuration, known: Mapping[str, Kinds]) -> list[Mistake]:
    """Return what of the selections can match nothing on any host; `known` has the families of each backend that there is."""
    mistakes: list[Mistake] = []
    # The defaults are for each host; and where the command line leaves only some backends, the file need not fit them.
    if not configuration.origin.narrowed:
        for place, selector in _selectors(configuration):
            _add_names(place, selector, known, mistakes)
    for index, spec in enumerate(configuration.resources):
        if spec.partition:
            selector = ANYTHING if configuration.origin.narrowed else spec.selector
            _add_partition(f"resources[{index}].partition", spec.partition, selector, known, mistakes)
    return mistakes


def _selectors(configuration: Configuration) -> Iterator[tuple[str, Selector]]:
    if configuration.resources != DEFAULT.resources:
        yield from ((f"resources[{index}].select", spec.selector) for index, spec in enumerate(configuration.resources))
    if configuration.exclude is not None:
        yield "exclude", configuration.exclude


def _add_names(place: str, selector: Selector, known: Mapping[str, Kinds], mistakes: list[Mistake]) -> None:
    before = len(mistakes)
    _add_unknown(f"{place}.backends", selector.backends, list(known), "no configured backend is called", mistakes)
    chosen = [kinds for name, kinds in known.items() if matches_any(selector.backends, name)]
    if len(mistakes) == before and all(chosen):
        families = list(dict.fromkeys(family for kinds in chosen for family in kinds))
        _add_unknown(f"{place}.families", selector.families, families, "no configured backend knows the family", mistakes)


def _add_unknown(path: str, patterns: Sequence[str], names: Sequence[str], said: str, mistakes: list[Mistake]) -> None:
    for index, pattern in enumerate(patterns):
        if not any(matches_any((pattern,), name) for name in names):
            own = f"{path}[{index}]" if len(patterns) > 1 else path
            mistakes.append(Mistake(own, f"{said} {shown(pattern)}; {advice(pattern, names, len(mistakes))}"))


def _add_partition(path: str, kind: str, selector: Selector, known: Mapping[str, Kinds], mistakes: list[Mistake]) -> None:
    everywhere, chosen = _divided(ANYTHING, known), _divided(selector, known)
    if not chosen:  # that nothing is selected is told of the names
        chosen = everywhere
    kinds = sorted({own for family in chosen.values() for own in family})
    if kind in kinds:
        return
    if chosen == everywhere:
        who = "no family has"
    elif len(chosen) == 1:
        who = f"the family {printable(next(iter(chosen)), MAX_SHOWN)} has no"
    else:
        who = f"none of the families {listed(chosen)} has"
    instead = there_are(kinds) if any(everywhere.values()) else "the configured backends divide no accelerator"
    mistakes.append(Mistake(path, f"{who} parts of the kind {shown(kind)}; {instead}"))


def _divided(selector: Selector, known: Mapping[str, Kinds]) -> dict[str, list[str]]:
    """Return the families that `selector` can mean, each with the kinds of partition that the backends have for it."""
    found: dict[str, list[str]] = {}
    for name, families in known.items():
        for family, kinds in families.items():
            if matches_any(selector.backends, name) and matches_any(selector.families, family):
                found.setdefault(family, []).extend(kinds)
    return found
