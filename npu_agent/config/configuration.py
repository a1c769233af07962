"""What an administrator configures, as one frozen value: its fields, their defaults and their documentation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from npu_agent.config.cdi import CdiSettings
from npu_agent.config.cluster import ClusterSettings
from npu_agent.config.errors import ConfigurationError
from npu_agent.core.rules import Check
from npu_agent.core.selection import ResourceSpec, Selector
from npu_agent.schema.mistakes import Lines, Mistake

MAX_BACKENDS = 16
MAX_RESOURCES = 256
"""Each is a socket, a registration and a task of its own."""

MAX_PATTERNS = 256
"""Texts with wildcards in all resources. Each is made ready for matching, which takes a tenth of a millisecond."""


def _backends_mistake(backends: Mapping[str, object]) -> str:
    return "" if len(backends) <= MAX_BACKENDS else f"expected at most {MAX_BACKENDS} backends, got {len(backends)}"


def _resources_mistake(resources: Sequence[ResourceSpec]) -> str:
    if len(resources) > MAX_RESOURCES:
        return f"expected at most {MAX_RESOURCES} resources, got {len(resources)}"
    patterns = sum(spec.selector.patterns for spec in resources)
    return "" if patterns <= MAX_PATTERNS else f"expected at most {MAX_PATTERNS} texts with wildcards in all resources, got {patterns}"


_Seconds = Annotated[float, Meta(ge=0.05, le=3600)]


class Settings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """The whole file. Every field may be absent."""

    backends: Annotated[
        Mapping[str, Mapping[str, Any]], Check(_backends_mistake), Meta(description="the backends to ask, each with its options")
    ] = msgspec.field(default_factory=lambda: {"sysfs": {}})
    resources: Annotated[tuple[ResourceSpec, ...], Check(_resources_mistake), Meta(description="the resources to offer")] = (
        ResourceSpec("furiosa.ai/npu", Selector(families=("warboy", "rngd"))),
    )
    exclude: Annotated[Selector, Meta(description="accelerators that no resource gets; none if no field is given")] | None = None
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
    cdi: Annotated[CdiSettings, Meta(description="how devices are handed to container runtimes")] = CdiSettings()
    cluster: Annotated[ClusterSettings, Meta(description="what the cluster is told of the node: labels and a taint")] = ClusterSettings()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a configuration comes from, for mistakes that are found later. It says nothing of what the configuration means.

    `narrowed` says that the command line left only some of the file's backends, so that resources may select what is not there.
    """

    place: str = field(default="the default configuration", compare=False)
    lines: Lines | None = field(default=None, compare=False, repr=False)
    narrowed: bool = field(default=False, compare=False)


class Configuration(Settings, kw_only=True, frozen=True):
    """What the agent is to do, as checked values. Without any file it is `DEFAULT`.

    `backends` has the options of each backend by its name; a backend checks its own when it is made.
    """

    origin: Origin = Origin()

    @property
    def place(self) -> str:
        """The file that it was read from, for people."""
        return self.origin.place

    def error(self, mistakes: Sequence[Mistake]) -> ConfigurationError:
        """Return the error that says `mistakes` of this configuration."""
        return ConfigurationError(self.place, mistakes, self.origin.lines)

    def only(self, backends: Sequence[str]) -> "Configuration":
        """Return it with `backends` alone, each with the options that it has here."""
        origin = Origin(self.place, self.origin.lines, narrowed=True)
        return msgspec.structs.replace(self, backends={name: self.backends.get(name, {}) for name in backends}, origin=origin)


DEFAULT = Configuration()


def to_data(configuration: Configuration) -> dict[str, Any]:
    """Return `configuration` as the data of a file that says all of it: every default is filled in."""
    data = {name: _with_lists(msgspec.to_builtins(getattr(configuration, name))) for name in Settings.__struct_fields__}
    return {**data, "exclude": data["exclude"] or {}}


def _with_lists(data: Any) -> Any:
    if isinstance(data, dict):
        return {name: _with_lists(item) for name, item in data.items()}
    return [_with_lists(item) for item in data] if isinstance(data, list | tuple) else data
