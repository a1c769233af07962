"""Which backends there are, and making one by its name: those of this package, then the entry points of others."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError, OptionError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

ENTRY_POINT_GROUP = "npu_agent.backends"

_BUILT_IN = {
    "fake": ("npu_agent.backends.fake.backend", "FakeBackend"),
    "sysfs": ("npu_agent.backends.sysfs.backend", "SysfsBackend"),
}


def available() -> Sequence[str]:
    """Return the names of all backends, in order, without importing any of them."""
    return sorted({*_BUILT_IN, *(point.name for point in _entry_points())})


def create(name: str, options: Mapping[str, Any], host_root: Path, *, probe_timeout_s: float = 2.0) -> Backend:
    """Return the backend `name`, made with `options`; only its own module is imported.

    Raises OptionError for a name that nobody offers and for a wrong option, BackendError for a backend of a third party that cannot
    be loaded.
    """
    return _load(name)(options, host_root=host_root, probe_timeout_s=probe_timeout_s)


def _load(name: str) -> type[Backend]:
    if name in _BUILT_IN:
        module, attribute = _BUILT_IN[name]
        loaded: object = getattr(importlib.import_module(module), attribute)
    else:
        loaded = _load_entry_point(name)
    if not (isinstance(loaded, type) and issubclass(loaded, Backend)):
        raise BackendError(f"the entry point {name!r} of the group {ENTRY_POINT_GROUP} gives {loaded!r}, which is not a Backend class")
    return loaded


def _load_entry_point(name: str) -> object:
    for point in _entry_points():
        if point.name == name:
            try:
                return point.load()
            # What a third party's module raises while it is imported is not ours to foresee; the agent goes on with the others.
            except Exception as error:
                raise BackendError(f"the backend {name!r} ({point.value}) cannot be loaded: {type(error).__name__}: {error}") from error
    import difflib  # 10 ms that only a mistake needs to pay

    names = available()
    similar = difflib.get_close_matches(name, names, n=1)
    advice = f"did you mean {similar[0]}? " if similar else ""
    raise OptionError("", f"there is no backend {name!r}; {advice}there are {', '.join(names)}")


def _entry_points() -> "EntryPoints":
    from importlib.metadata import entry_points  # it costs more than 20 ms, and the built-in backends do not need it

    return entry_points(group=ENTRY_POINT_GROUP)
