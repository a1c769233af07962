"""The backends that a configuration asks for, made, with each of their mistakes placed in the configuration."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from npu_agent.backends import registry
from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError, OptionError
from npu_agent.config.configuration import Configuration, partition_mistakes
from npu_agent.node.tracker import Asked
from npu_agent.schema.fields import Mistake, below


def make_backends(configuration: Configuration, host_root: Path) -> dict[str, Backend]:
    """Return the backends by name, not entered yet.

    Raises config.ConfigurationError with the mistakes of all of them, and with the partitions that no family has.
    """
    backends: dict[str, Backend] = {}
    mistakes: list[Mistake] = []
    for name, options in configuration.backends.items():
        try:
            backends[name] = registry.create(name, options, host_root, probe_timeout_s=configuration.probe_timeout_s)
        except BackendError as error:
            mistakes.append(_mistake(name, error))
    if not mistakes:
        kinds: dict[str, Sequence[str]] = {}
        for backend in backends.values():
            for family, names in backend.partitions.items():
                kinds[family] = [*kinds.get(family, ()), *names]
        mistakes = partition_mistakes(configuration, kinds)
    if mistakes:
        raise configuration.error(mistakes)
    return backends


def wanted_backends(configuration: Configuration, host_root: Path) -> dict[str, Asked]:
    """Return how each backend of the configuration is made. Those of a configuration that was just checked are made already.

    Raises config.ConfigurationError as `make_backends` does.
    """
    made = make_backends(configuration, host_root)

    def asked(name: str, options: Mapping[str, Any]) -> Asked:
        def make() -> Backend:
            # The one that checked the options is as good as a new one, once.
            return made.pop(name, None) or registry.create(name, options, host_root, probe_timeout_s=configuration.probe_timeout_s)

        return Asked(make, options)

    return {name: asked(name, options) for name, options in configuration.backends.items()}


def _mistake(name: str, error: BackendError) -> Mistake:
    path = below("backends", name)
    if not isinstance(error, OptionError):
        return Mistake(path, str(error))
    separator = "." if error.path and not error.path.startswith("[") else ""
    return Mistake(f"{path}{separator}{error.path}", error.message)
