"""Which accelerators an administrator means, and the resources that he makes of them. The structs are what his file says, too."""

import fnmatch
import functools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from npu_agent.core.accelerator import Accelerator
from npu_agent.core.resource_name import resource_name_mistake
from npu_agent.core.rules import ONE_OR_MANY, Check

MAX_TEXTS = 256
"""Texts of one field of a selector."""

MAX_TEXT = 1024
"""Characters of one text of a selector. A path in the machine's tree is the longest that an accelerator has."""


def _texts_mistake(texts: Sequence[str]) -> str:
    if not texts or not all(texts):
        return "expected a text or a list of texts, none of them empty"
    if len(texts) > MAX_TEXTS or max(map(len, texts)) > MAX_TEXT:
        return f"expected at most {MAX_TEXTS} texts of at most {MAX_TEXT} characters"
    return ""


def _numbers_mistake(numbers: Sequence[int]) -> str:
    return "" if numbers else "expected a number or a list of numbers, got an empty list"


_Texts = Annotated[tuple[str, ...], ONE_OR_MANY, Check(_texts_mistake)]
_Numbers = Annotated[tuple[Annotated[int, Meta(ge=0)], ...], ONE_OR_MANY, Check(_numbers_mistake)]


class Selector(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which accelerators are meant: those that match every field that is given. A text may hold `*`, `?` and `[…]`, as in a shell."""

    backends: Annotated[_Texts, Meta(description="names of backends")] = ()
    families: Annotated[_Texts, Meta(description="model lines, such as `rngd`")] = ()
    models: Annotated[_Texts, Meta(description="models of a family, such as `gaudi2`")] = ()
    ids: Annotated[_Texts, Meta(description="ids as `npu-agent list` shows them, in any case")] = ()
    uuids: Annotated[_Texts, Meta(description="uuids, in any case")] = ()
    serials: Annotated[_Texts, Meta(description="serial numbers, in any case")] = ()
    names: Annotated[_Texts, Meta(description="the kernel's names, such as `npu0`; they may be others after a restart of the node")] = ()
    pci_addresses: Annotated[
        _Texts, Meta(description="addresses such as `0000:6d:00.0`, in any case; `6d:00.0` is one of the domain `0000`")
    ] = ()
    locations: Annotated[_Texts, Meta(description="paths in the machine's tree; `numa1` means all that is below it")] = ()
    numa_nodes: Annotated[_Numbers, Meta(description="numbers of NUMA nodes")] = ()
    attributes: Annotated[
        Mapping[str, _Texts], Meta(description="what else the backend tells of an accelerator, each with the texts that are meant")
    ] = {}

    @property
    def patterns(self) -> int:
        """The number of its texts that hold wildcards."""
        fields = [getattr(self, field) for field in self.__struct_fields__ if field not in ("numa_nodes", "attributes")]
        return sum(1 for texts in (*fields, *self.attributes.values()) for text in texts if _WILDCARD.search(text))

    def matches(self, accelerator: Accelerator) -> bool:
        """Return whether `accelerator` is meant. A selector without a field means any; one without an attribute has no text for it."""
        return (
            matches_any(self.backends, accelerator.backend)
            and matches_any(self.families, accelerator.family)
            and matches_any(self.models, accelerator.model)
            and matches_any(self.ids, accelerator.id, ignore_case=True)
            and matches_any(self.uuids, accelerator.uuid, ignore_case=True)
            and matches_any(self.serials, accelerator.serial, ignore_case=True)
            and matches_any(self.names, accelerator.name, ignore_case=True)
            and matches_any(_addresses(self.pci_addresses), accelerator.pci_address, ignore_case=True)
            and (not self.locations or any(matches_any(self.locations, beginning) for beginning in _beginnings(accelerator)))
            and (not self.numa_nodes or accelerator.numa_node in self.numa_nodes)
            and all(_has_attribute(accelerator, name, texts) for name, texts in self.attributes.items())
        )


class ResourceSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One resource that pods can ask for. An accelerator belongs to the first resource that selects it."""

    name: Annotated[str, Check(resource_name_mistake), Meta(description="its name, `DOMAIN/NAME`")]
    selector: Annotated[Selector, Meta(description="which accelerators it is made of; all if absent")] = msgspec.field(
        default=Selector(), name="select"
    )
    partition: Annotated[
        str, Meta(description="the kind of part that each accelerator is divided into, such as `2core`; whole ones if absent")
    ] = ""
    replicas: Annotated[int, Meta(ge=1, le=1000, description="how many devices are made of each accelerator or part")] = 1
    policy: Annotated[
        Literal["packed", "spread", "apart"],
        Meta(description="whether devices that share an accelerator are near, far or never together when several are asked for"),
    ] = "packed"


ANYTHING = Selector()


def unmatched(selector: Selector, accelerators: Sequence[Accelerator]) -> list[str]:
    """Return what of `selector` matches none of `accelerators`, each as a text such as `ids: RNGD-7`.

    Of texts that each name one accelerator (ids, uuids, serials, names, addresses) every one must match; of the others, which are
    often written for several nodes, one of a field. Where each field matches by itself and nothing matches them all, that is told. On
    a host without accelerators there is nothing to tell.
    """
    if not accelerators or selector == ANYTHING:
        return []
    missing = list(_unmatched(selector, accelerators))
    if not missing and not any(selector.matches(accelerator) for accelerator in accelerators):
        missing.append(f"{' and '.join(_given(selector))} together")
    return missing


_NAMING_ONE = ("ids", "uuids", "serials", "names", "pci_addresses")


def _given(selector: Selector) -> list[str]:
    return [field for field in Selector.__struct_fields__ if getattr(selector, field)]


def _unmatched(selector: Selector, accelerators: Sequence[Accelerator]) -> Iterator[str]:
    for field in _given(selector):
        value = getattr(selector, field)
        parts: dict[str, object]
        if field == "attributes":
            parts = {f"attributes: {name}: {_joined(texts)}": {name: texts} for name, texts in value.items()}
        elif field in _NAMING_ONE:
            parts = {f"{field}: {text}": (text,) for text in value}
        else:
            parts = {f"{field}: {_joined(value)}": value}
        for said, part in parts.items():
            alone = msgspec.structs.replace(ANYTHING, **{field: part})
            if not any(alone.matches(accelerator) for accelerator in accelerators):
                yield said


def _joined(texts: Sequence[object]) -> str:
    return ", ".join(map(str, texts))


def _has_attribute(accelerator: Accelerator, name: str, texts: Sequence[str]) -> bool:
    return any(own == name and matches_any(texts, value) for own, value in accelerator.attributes)


def _beginnings(accelerator: Accelerator) -> Sequence[str]:
    path = accelerator.location
    return ["/".join(path[:depth]) for depth in range(1, len(path) + 1)]


def matches_any(patterns: Sequence[str], value: str, *, ignore_case: bool = False) -> bool:
    """Return whether one of `patterns` matches `value` as in a shell; where there is none, any value is meant."""
    return not patterns or any(match(value) for match in _matchers(tuple(patterns), ignore_case))


@functools.lru_cache(maxsize=1024)
def _matchers(patterns: tuple[str, ...], ignore_case: bool) -> tuple[Callable[[str], object], ...]:
    return tuple(map(_ignoring_case if ignore_case else _exactly, patterns))


def _exactly(pattern: str) -> Callable[[str], object]:
    return re.compile(fnmatch.translate(pattern)).match if _WILDCARD.search(pattern) else pattern.__eq__


def _ignoring_case(pattern: str) -> Callable[[str], object]:
    if _WILDCARD.search(pattern):
        return re.compile(fnmatch.translate(pattern), re.IGNORECASE).match
    lower = pattern.lower()
    return lambda value: value.lower() == lower


_WILDCARD = re.compile(r"[*?[]")


@functools.lru_cache(maxsize=256)
def _addresses(patterns: tuple[str, ...]) -> tuple[str, ...]:
    # Only a pattern without its domain can match with one put before it.
    return (*patterns, *(f"0000:{pattern}" for pattern in patterns))
