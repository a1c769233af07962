"""A service whose messages are imported when it is called for the first time: what nobody uses costs no start."""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from grpclib._typing import IServable
    from grpclib.const import Handler


class LateService:
    """Serves the methods at `paths` by the service that `make` makes at the first call of one of them."""

    def __init__(self, paths: Collection[str], make: "Callable[[], IServable]") -> None:
        self._paths = paths
        self._make = make
        self._made: Mapping[str, Handler] | None = None

    def handler(self, path: str) -> "Handler":
        """Return what carries out the method at `path`."""
        if self._made is None:
            self._made = self._make().__mapping__()
        return self._made[path]

    def __mapping__(self) -> "dict[str, Handler]":
        return {path: cast("Handler", _LateHandler(self, path)) for path in self._paths}


class _LateHandler:
    """Stands for grpclib's Handler, of which it reads the attributes when there is a call."""

    def __init__(self, service: LateService, path: str) -> None:
        self._service = service
        self._path = path

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service.handler(self._path), name)
