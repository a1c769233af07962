"""The backends that a configuration asks for, made, with each of their mistakes placed in the configuration."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from npu_agent.backends import registry
from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError, OptionError
from npu_agent.config.configuration import Configuration
from npu_agent.config.errors import ConfigurationError
from npu_agent.config.selections import selection_mistakes
from npu_agent.node.tracker import Asked
from npu_agent.schema.mistakes import Mistake, below

log = logging.getLogger(__name__)


def make_backends(configuration: Configuration, host_root: Path) -> dict[str, Backend]:
    """Return the backends by name, not entered yet.

    A backend whose making fails by itself, and not for its options, is left out: whoever makes it again finds the same, and can tell
    of it as of any failure of a backend. Raises config.ConfigurationError with the mistakes in the options of all backends, else with
    what the resources select and no backend has.
    """
    backends, mistakes = _make(configuration, host_root)
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


def with_mistakes_of_backends(error: ConfigurationError, host_root: Path) -> ConfigurationError:
    """Return `error` with the mistakes that `make_backends` would find in what is right of its configuration, too."""
    wrong = [mistake.path for mistake in error.mistakes]
    if error.right is None or "backends" in wrong:
        return error
    with_selections = "resources" not in wrong and not any(path.startswith("backends") for path in wrong)
    _, mistakes = _make(error.right, host_root, with_selections=with_selections)
    return error.right.error([*error.mistakes, *mistakes])


def _make(configuration: Configuration, host_root: Path, *, with_selections: bool = True) -> tuple[dict[str, Backend], list[Mistake]]:
    backends: dict[str, Backend] = {}
    mistakes: list[Mistake] = []
    for name, options in configuration.backends.items():
        try:
            backends[name] = registry.create(name, options, host_root, probe_timeout_s=configuration.probe_timeout_s)
        except BackendError as error:
            mistakes += _placed(name, error)
        except Exception:
            log.debug("the backend %s cannot be made", name, exc_info=True)
    if with_selections and not mistakes:
        known = {name: backends[name].partitions if name in backends else {} for name in configuration.backends}
        mistakes = selection_mistakes(configuration, known)
    return backends, mistakes


def _placed(name: str, error: BackendError) -> Iterator[Mistake]:
    path = below("backends", name)
    if not isinstance(error, OptionError):
        yield Mistake(path, str(error))
        return
    for mistake in error.mistakes:
        separator = "." if mistake.path and not mistake.path.startswith("[") else ""
        yield Mistake(f"{path}{separator}{mistake.path}", mistake.message)
