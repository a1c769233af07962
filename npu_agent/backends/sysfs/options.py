"""The options of the backend `sysfs`, as the families that it is to look for."""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from npu_agent.backends.errors import OptionError
from npu_agent.families.errors import FamilyError
from npu_agent.families.family import Family
from npu_agent.families.reading import read_folder, read_shipped, shipped_names
from npu_agent.families.texts import Values
from npu_agent.schema.fields import read_what_is_right
from npu_agent.schema.mistakes import Mistake, advice, below, listed, shown


class Options(msgspec.Struct, kw_only=True, frozen=True):
    """The options of the sysfs backend."""

    families: (
        Annotated[
            list[str],
            Meta(
                description="the families to look for, of which the first that describes a card has it; `*` in a name stands for anything."
                " If absent, your own and those of FuriosaAI"
            ),
        ]
        | None
    ) = None
    families_folder: Annotated[
        str,
        Meta(description="a folder with family descriptions of your own (`*.yaml`); one that has the name of another replaces it"),
    ] = ""
    healthy: Annotated[
        dict[str, dict[str, Values]],
        Meta(description="for a family and an attribute of its health, the values that mean healthy instead of those in its description"),
    ] = {}


OFFERED = ("rngd", "warboy")
"""The families that are looked for where nobody says which. To read one of another vendor costs a millisecond of each start."""


def families_of(options: Mapping[str, Any]) -> dict[str, Family]:
    """Return the families by name, as the options change them. Raises OptionError with every mistake."""
    parsed, mistakes = read_what_is_right(options, Options)
    own: dict[str, Family] = {}
    if parsed.families_folder:
        try:
            own = read_folder(parsed.families_folder)
        except FamilyError as error:
            mistakes += [Mistake("families_folder", said) for said in error.told]
    shipped = shipped_names()
    known = [*own, *(name for name in shipped if name not in own)]
    wanted = [*own, *(name for name in OFFERED if name not in own)] if parsed.families is None else _named(parsed.families, known)
    families = {name: own[name] if name in own else read_shipped(name) for name in wanted if name in known}
    if not any(mistake.path.startswith("families") for mistake in mistakes):  # else it is not known which families there are
        for index, name in enumerate(wanted):
            if name not in known:
                mistakes.append(Mistake(f"families[{index}]", f"there is no family {shown(name)}; {advice(name, known, len(mistakes))}"))
        mistakes += _health_mistakes(parsed.healthy, families)
    if mistakes:
        raise OptionError.of(mistakes)
    return {name: _with_health(family, parsed.healthy.get(name, {})) for name, family in families.items()}


def _named(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return the families that `names` mean, each once, in their order; a name that means none stays."""
    named = [name if "*" not in name else fnmatch.filter(known, name) or name for name in names]
    return list(dict.fromkeys(name for one in named for name in ([one] if isinstance(one, str) else one)))


def _health_mistakes(healthy: Mapping[str, Mapping[str, list[str]]], families: Mapping[str, Family]) -> Iterator[Mistake]:
    for name, attributes in healthy.items():
        place = below("healthy", name)
        if name not in families:
            yield Mistake(place, f"there is no such family in use; there are {listed(families)}")
            continue
        known = [attribute for rule in families[name].health if rule.healthy for attribute in rule.attribute]
        for attribute in attributes:
            if attribute not in known:
                there_are = f"it depends on {listed(known)}" if known else "it depends on nothing"
                yield Mistake(below(place, attribute), f"the health of {name} does not depend on it; {there_are}")


def _with_health(family: Family, healthy: Mapping[str, list[str]]) -> Family:
    if not healthy:
        return family
    rules = [
        msgspec.structs.replace(rule, healthy=next(healthy[attribute] for attribute in rule.attribute if attribute in healthy))
        if rule.healthy and any(attribute in healthy for attribute in rule.attribute)
        else rule
        for rule in family.health
    ]
    return msgspec.structs.replace(family, health=rules)
