"""Pods as far as devices go: what their containers ask for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Container:
    """A container that asks for devices: a number for each resource name.

    `init` makes it an init container, which ends before the next one starts; `restartable` too, a sidecar, which runs on.
    """

    name: str = "main"
    devices: Mapping[str, int] = field(default_factory=dict)
    init: bool = False
    restartable: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod. Its init containers run first, in their order, whatever their place among the others."""

    name: str
    containers: tuple[Container, ...]
    namespace: str = "default"

    def in_order(self) -> Iterable[Container]:
        """Yield the containers as kubelet admits and starts them."""
        yield from (container for container in self.containers if container.init)
        yield from (container for container in self.containers if not container.init)
