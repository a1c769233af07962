"""A node with backends of a test's own, a kubelet that says what it is told to say, and a clock that a test turns."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import msgspec

from npu_agent.backends.base import Backend
from npu_agent.config.configuration import DEFAULT, Configuration
from npu_agent.core.moment import Moment
from npu_agent.core.pool import Device
from npu_agent.core.registration import Holder
from npu_agent.core.selection import ResourceSpec, Selector
from npu_agent.core.state import Holders, NodeState
from npu_agent.node.memory import Store
from npu_agent.node.node import Node
from npu_agent.node.tracker import Asked

NPU = "furiosa.ai/npu"
SHELVED = ResourceSpec(NPU, Selector(families=("shelved", "unruly")))


def configured(**fields: Any) -> Configuration:
    """Return a configuration for quick tests, with `fields` changed."""
    quick: dict[str, Any] = {
        "resources": (SHELVED,),
        "probe_interval_s": 0.05,
        "probe_timeout_s": 0.05,
        "scan_interval_s": 60.0,
        "recover_after": 2,
    }
    return changed(DEFAULT, **{**quick, **fields})


def changed(configuration: Configuration, **fields: Any) -> Configuration:
    """Return `configuration` with `fields` changed."""
    return msgspec.structs.replace(configuration, **fields)


@dataclass
class Clock:
    """A clock that stands still until a test turns it."""

    at: float = 100.0

    def __call__(self) -> Moment:
        return Moment(self.at, 1_000_000 + self.at)


@dataclass
class Kubelet:
    """Who holds what: device ids by pod, or None where kubelet cannot be asked."""

    pods: dict[str, tuple[str, ...]] | None = field(default_factory=dict)

    async def __call__(self) -> tuple[Holders | None, str]:
        if self.pods is None:
            return None, "kubelet cannot be asked"
        return {(NPU, id): (Holder("default", pod, "main"),) for pod, ids in self.pods.items() for id in ids}, ""


@dataclass
class Folder:
    """A store whose files are in memory."""

    files: dict[str, bytes] = field(default_factory=dict)

    async def read(self, name: str, most_bytes: int) -> bytes | None:
        return self.files.get(name)

    async def write(self, name: str, content: bytes) -> None:
        self.files[name] = content


@asynccontextmanager
async def watching(
    *backends: Backend,
    kubelet: Kubelet | None = None,
    configuration: Configuration | None = None,
    makers: Mapping[str, Callable[[], Backend]] | None = None,
    clock: Clock | None = None,
    store: Store | None = None,
    host_root: Path = Path("/"),
) -> AsyncIterator[Node]:
    """Look after a node with these backends while entered; its first look is over then."""
    asked = {backend.name: Asked(lambda backend=backend: backend) for backend in backends}  # type: ignore[misc]
    asked |= {name: Asked(make) for name, make in (makers or {}).items()}
    node = Node(configuration or configured(), asked, host_root=host_root, ask=kubelet or Kubelet(), store=store, clock=clock or Clock())
    ready = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.run, ready)
        with anyio.fail_after(5):
            await ready.wait()
        yield node
        tasks.cancel_scope.cancel()


async def until(node: Node, looks: Callable[[NodeState], bool]) -> NodeState:
    """Return the first state that looks so."""
    with anyio.fail_after(5):
        async for state in node.state.follow():
            if looks(state):
                return state
    raise AssertionError


def devices(state: NodeState, resource: str = NPU) -> tuple[Device, ...]:
    return state.plan.pools[resource].devices


def ids(state: NodeState, resource: str = NPU) -> list[str]:
    return [device.id for device in devices(state, resource)]


def healthy(state: NodeState, resource: str = NPU) -> list[str]:
    return [device.id for device in devices(state, resource) if device.health.healthy]
