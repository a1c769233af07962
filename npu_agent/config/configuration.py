"""What an administrator configures: the schema, its defaults, and reading it with every mistake named at once."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from npu_agent.core.errors import USAGE, NpuAgentError
from npu_agent.core.resource_name import resource_name_mistake
from npu_agent.core.selection import ResourceSpec, Selector
from npu_agent.schema.fields import Check, Mistake, line_of, read, shown


class ConfigurationError(NpuAgentError):
    """A configuration cannot be used. Each of `mistakes` has the path of a field and what is expected there."""

    exit_status: ClassVar[int] = USAGE

    def __init__(self, place: str, mistakes: Sequence[Mistake], lines: Mapping[str, int] | None = None) -> None:
        self.place = place
        self.mistakes = tuple(mistakes)
        told = [f"line {line}: {mistake}" if (line := line_of(mistake.path, lines or {})) else str(mistake) for mistake in mistakes]
        super().__init__(f"{place}: {told[0]}" if len(told) == 1 else "\n  ".join([f"{place} has {len(told)} mistakes:", *told]))


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the agent is to do, as checked values. Without any file it is `DEFAULT`.

    `backends` has the options of each backend by its name; a backend checks its own when it is made. `place` is the file that the
    rest was read from, and `lines` has the line of each of its fields, for mistakes that are found later (`error`).
    """

    backends: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"sysfs": {}})
    resources: tuple[ResourceSpec, ...] = (ResourceSpec("furiosa.ai/npu", Selector(families=("warboy", "rngd"))),)
    exclude: Selector | None = None
    probe_interval_s: float = 1.0
    probe_timeout_s: float = 2.0
    scan_interval_s: float = 5.0
    recover_after: int = 3
    vanished_linger_s: float = 300.0
    fail_on_no_device: bool = False
    place: str = field(default="the default configuration", compare=False)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False, repr=False)

    def error(self, mistakes: Sequence[Mistake]) -> ConfigurationError:
        """Return the error that says `mistakes` of this configuration."""
        return ConfigurationError(self.place, mistakes, self.lines)


DEFAULT = Configuration()


def _pattern_mistake(value: str | list[str]) -> str:
    return "" if value and all([value] if isinstance(value, str) else value) else "expected a text or a list of texts, none of them empty"


_Texts = Annotated[str | list[str], Check(_pattern_mistake)]
_NumaNode = Annotated[int, Meta(ge=0)]
_Seconds = Annotated[float, Meta(ge=0.05, le=3600)]


class SelectorFields(msgspec.Struct, kw_only=True, frozen=True):
    """Which accelerators are meant: those that match every field that is given. A text may hold `*`, `?` and `[…]`, as in a shell."""

    backends: Annotated[_Texts, Meta(description="names of backends")] | None = None
    families: Annotated[_Texts, Meta(description="model lines, such as `rngd`")] | None = None
    ids: Annotated[_Texts, Meta(description="ids as `npu-agent list` shows them")] | None = None
    pci_addresses: Annotated[_Texts, Meta(description="addresses such as `0000:6d:00.0`")] | None = None
    locations: Annotated[_Texts, Meta(description="paths in the machine's tree; `numa1` means all that is below it")] | None = None
    numa_nodes: Annotated[_NumaNode | list[_NumaNode], Meta(description="numbers of NUMA nodes")] | None = None


class ResourceFields(msgspec.Struct, kw_only=True, frozen=True):
    """One resource that pods can ask for. An accelerator belongs to the first resource that selects it."""

    name: Annotated[str, Check(resource_name_mistake), Meta(description="its name, `DOMAIN/NAME`")]
    select: Annotated[SelectorFields, Meta(description="which accelerators it is made of; all if absent")] = SelectorFields()
    partition: Annotated[
        str, Meta(description="the kind of part that each accelerator is divided into, such as `2core`; whole ones if absent")
    ] = ""
    replicas: Annotated[int, Meta(ge=1, le=1000, description="how many devices are made of each accelerator or part")] = 1
    policy: Annotated[
        Literal["packed", "spread"],
        Meta(description="whether devices that share an accelerator are near or far when several are asked for"),
    ] = "packed"


class ConfigurationFields(msgspec.Struct, kw_only=True, frozen=True):
    """The whole file. Every field may be absent."""

    backends: Annotated[dict[str, dict[str, Any]], Meta(description="the backends to ask, each with its options")] | None = None
    resources: Annotated[list[ResourceFields], Meta(description="the resources to offer")] | None = None
    exclude: Annotated[SelectorFields, Meta(description="accelerators that no resource gets; none if no field is given")] = SelectorFields()
    probe_interval_s: Annotated[_Seconds, Meta(description="seconds between two looks at the health of an accelerator")] = 1.0
    probe_timeout_s: Annotated[_Seconds, Meta(description="seconds after which a read of an accelerator counts as hanging")] = 2.0
    scan_interval_s: Annotated[_Seconds, Meta(description="seconds between two searches for accelerators that came or went")] = 5.0
    recover_after: Annotated[
        int, Meta(ge=1, le=1000, description="good readings in a row after which a failed accelerator is healthy again")
    ] = 3
    vanished_linger_s: Annotated[
        float,
        Meta(
            ge=0,
            le=604800,
            description="seconds that a vanished device stays listed as unhealthy where kubelet cannot be asked who holds it",
        ),
    ] = 300.0
    fail_on_no_device: Annotated[
        bool, Meta(description="whether `serve` ends with exit code 1 if there is no accelerator when it starts")
    ] = False


def load(path: str | os.PathLike[str]) -> Configuration:
    """Return the configuration in the file at `path`. Raises ConfigurationError, also for a file that cannot be read."""
    from npu_agent.schema.document import DocumentError, read_text  # it costs 20 ms, which an agent without a file need not pay

    place = os.fspath(path)
    try:
        text = read_text(path)
    except OSError as error:
        raise ConfigurationError(place, [Mistake("", f"cannot be read: {error.strerror}")]) from error
    except DocumentError as error:
        raise ConfigurationError(place, [Mistake("", str(error))]) from error
    return parse(text, place)


def parse(text: str, place: str) -> Configuration:
    """Return the configuration in `text`, which was read from `place`. Raises ConfigurationError with all mistakes."""
    from npu_agent.schema.document import DocumentError, parse

    try:
        document = parse(text)
    except DocumentError as error:
        raise ConfigurationError(place, [Mistake("", str(error))]) from error
    fields, mistakes = read(document.data, ConfigurationFields)
    mistakes += _same_names(document.data)
    if fields is None or mistakes:
        mistakes.sort(key=lambda mistake: line_of(mistake.path, document.lines))
        raise ConfigurationError(place, mistakes, document.lines)
    exclude = _selector(fields.exclude)
    return Configuration(
        backends=DEFAULT.backends if fields.backends is None else fields.backends,
        resources=DEFAULT.resources if fields.resources is None else tuple(map(_spec, fields.resources)),
        exclude=None if exclude == Selector() else exclude,
        **{name: getattr(fields, name) for name in _PLAIN_FIELDS},
        place=place,
        lines=document.lines,
    )


def to_data(configuration: Configuration) -> dict[str, object]:
    """Return `configuration` as the data of a file that says all of it: every default is filled in."""
    return {
        "backends": {name: dict(options) for name, options in configuration.backends.items()},
        "resources": [
            {
                "name": spec.name,
                "select": _selector_data(spec.selector),
                "partition": spec.partition,
                "replicas": spec.replicas,
                "policy": spec.policy,
            }
            for spec in configuration.resources
        ],
        "exclude": _selector_data(configuration.exclude or Selector()),
        **{name: getattr(configuration, name) for name in _PLAIN_FIELDS},
    }


def partition_mistakes(configuration: Configuration, kinds: Mapping[str, Sequence[str]]) -> list[Mistake]:
    """Return the resources whose kind of partition no family has; `kinds` are the backends' `partitions`, by family."""
    known = {kind: family for family, names in kinds.items() for kind in names}
    there_are = f"there are {', '.join(sorted(known))}" if known else "the configured backends divide no accelerator"
    return [
        Mistake(f"resources[{index}].partition", f"no family has parts of the kind {shown(spec.partition)}; {there_are}")
        for index, spec in enumerate(configuration.resources)
        if spec.partition and spec.partition not in known
    ]


def remarks(configuration: Configuration) -> list[Mistake]:
    """Return what is allowed and hardly meant: resources that get no accelerator, since an earlier one takes all that they select."""
    found = []
    for index, spec in enumerate(configuration.resources):
        for earlier, other in enumerate(configuration.resources[:index]):
            if other.selector in (Selector(), spec.selector):
                text = f"gets no accelerator: resources[{earlier}] selects the same ones and comes first; put the narrower one first"
                found.append(Mistake(f"resources[{index}]", text))
                break
    return found


def _spec(fields: ResourceFields) -> ResourceSpec:
    return ResourceSpec(fields.name, _selector(fields.select), fields.partition, fields.replicas, fields.policy)


_PLAIN_FIELDS = ("probe_interval_s", "probe_timeout_s", "scan_interval_s", "recover_after", "vanished_linger_s", "fail_on_no_device")
"""The fields that are in a configuration as they are in the file."""


def _selector_data(selector: Selector) -> dict[str, list[str | int]]:
    values = {name: list(getattr(selector, name)) for name in SelectorFields.__struct_fields__}
    return {name: value for name, value in values.items() if value}


def _selector(fields: SelectorFields) -> Selector:
    return Selector(
        backends=_texts(fields.backends),
        families=_texts(fields.families),
        ids=_texts(fields.ids),
        pci_addresses=_texts(fields.pci_addresses),
        locations=_texts(fields.locations),
        numa_nodes=()
        if fields.numa_nodes is None
        else (fields.numa_nodes,)
        if isinstance(fields.numa_nodes, int)
        else tuple(fields.numa_nodes),
    )


def _texts(value: str | list[str] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else tuple(value)


def _same_names(data: object) -> Iterable[Mistake]:
    resources = data.get("resources") if isinstance(data, dict) else None
    first: dict[str, int] = {}
    for index, resource in enumerate(resources if isinstance(resources, list) else []):
        name = resource.get("name") if isinstance(resource, dict) else None
        if isinstance(name, str) and first.setdefault(name, index) != index:
            advice = "kubelet knows one pool for each name; use another name, or select both kinds in one resource"
            yield Mistake(f"resources[{index}].name", f"{shown(name)} is already the name of resources[{first[name]}]; {advice}")
