"""What the agent remembers of what it gave to containers, over its own restarts. docs/decisions/0010-identity.md tells why."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import anyio
import msgspec

from npu_agent.core.allocations import Allocation, Key, allocation_of, with_texts
from npu_agent.core.errors import NpuAgentError
from npu_agent.core.moment import Moment
from npu_agent.core.state import Holders, NodeState

FILE = "allocations.json"
VERSION = 1
MOST_BYTES = 16 * 1024 * 1024
SOURCE = "memory of allocations"

ADMITTED_S = 2.0
"""Seconds after an answer within which kubelet may not list the pod yet that it was for."""

SETTLED_S = 10.0
"""Seconds after a start of kubelet within which it may not know yet which pods there are: it lists none of them then."""


class Store(Protocol):
    """Where the memory lies: small files in the agent's own folder."""

    async def read(self, name: str, most_bytes: int) -> bytes | None:
        """Return the content of a file, None if there is none. Raises NpuAgentError."""

    async def write(self, name: str, content: bytes) -> None:
        """Replace the content of a file, whole or not at all. Raises NpuAgentError."""


class _Remembered(msgspec.Struct, frozen=True, forbid_unknown_fields=False):
    """The file."""

    version: int
    allocations: tuple[Allocation, ...]


class Memory:
    """The allocations that a pod may still hold.

    One is forgotten when kubelet has said twice that nobody holds its device, and it could know: not right after the allocation, and
    not right after a start of kubelet.
    """

    def __init__(self, store: Store | None, tell: Callable[[str, str], None]) -> None:
        self._store = store
        self._tell = tell
        self._live: dict[Key, Allocation] = {}
        self._allocated_at: dict[Key, float] = {}
        self._missed_at: dict[Key, float] = {}
        self._settled_at = float("inf")
        self._saved: tuple[Allocation, ...] = ()
        self._saving = anyio.Lock()

    @property
    def live(self) -> tuple[Allocation, ...]:
        """What a pod may still hold."""
        return tuple(self._live.values())

    async def load(self, now: Moment) -> None:
        """Take what an agent before this one remembered. A file that is no memory is told and left aside."""
        if self._store is None:
            return
        try:
            content = await self._store.read(FILE, MOST_BYTES)
            remembered = msgspec.json.decode(content, type=_Remembered) if content else None
        except (NpuAgentError, msgspec.MsgspecError, RecursionError) as error:
            self._tell(SOURCE, f"what was given to containers before this start is not known: {FILE} cannot be read: {error}")
            return
        if remembered is not None and remembered.version != VERSION:
            self._tell(SOURCE, f"what was given to containers before this start is not known: {FILE} has the version {remembered.version}")
        elif remembered is not None:
            self._live = {allocation.key: allocation for allocation in remembered.allocations}
            self._allocated_at = dict.fromkeys(self._live, now.at)
            self._saved = self.live

    def record(self, allocations: Iterable[Allocation], now: Moment) -> None:
        """Note what a container is about to be given. Whoever held the same device before has let go of it: kubelet gives it anew."""
        for allocation in allocations:
            self._live[allocation.key] = allocation
            self._allocated_at[allocation.key] = now.at
            self._missed_at.pop(allocation.key, None)

    async def save(self) -> None:
        """Write what is remembered, if it differs from what is written. That it cannot be written is told, and nothing fails."""
        # One after the other: of two writes at once the older one may end last.
        async with self._saving:
            live = self.live
            if self._store is None or live == self._saved:
                return
            try:
                await self._store.write(FILE, msgspec.json.encode(_Remembered(VERSION, live)))
            except NpuAgentError as error:
                self._tell(SOURCE, f"what is given to containers cannot be remembered over a restart of the agent: {error}")
                return
            self._saved = live
            self._tell(SOURCE, "")

    def kubelet_changed(self) -> None:
        """Note that another kubelet may be there, which does not know its pods yet."""
        self._settled_at = float("inf")

    def hear(self, holders: Holders | None, state: NodeState, now: Moment) -> None:
        """Take what kubelet says of who holds what; None where it cannot be asked."""
        if holders is None:
            self._settled_at = float("inf")
            return
        if self._settled_at == float("inf"):
            self._settled_at = now.at + SETTLED_S
        for key in holders:
            self._missed_at.pop(key, None)
            if key not in self._live:
                self._live[key] = Allocation(*key)
                self._allocated_at[key] = now.at
        self.adopt(state)
        for key in [key for key in self._live if key not in holders]:
            if now.at < self._allocated_at[key] + ADMITTED_S or now.at < self._settled_at:
                continue
            if self._missed_at.setdefault(key, now.at) < now.at:
                del self._live[key], self._allocated_at[key], self._missed_at[key]

    def adopt(self, state: NodeState) -> None:
        """Take for what is known from kubelet alone what it stands for now, where its device is there, and learn what came late.

        A card whose uuid appears while it is held, or that moves, must be known by that after a restart of the agent.
        """
        for key, allocation in self._live.items():
            tracked = state.inventory.get(allocation.accelerator_id)
            if not allocation.accelerator_id:
                self._live[key] = _adopted(key, state)
            elif tracked is not None and tracked.vanished_at is None and not tracked.accelerator.unusable:
                self._live[key] = with_texts(allocation, tracked.accelerator)

    @property
    def wants_answer(self) -> bool:
        """Whether a second word of kubelet is waited for."""
        return bool(self._missed_at)


def held_names(live: Sequence[Allocation]) -> frozenset[str]:
    """Return the ids of devices that are held and of which nothing else is known."""
    return frozenset(allocation.device_id for allocation in live if not allocation.accelerator_id)


def held_accelerators(live: Iterable[Allocation]) -> frozenset[str]:
    """Return the ids of accelerators that the allocations have a part of."""
    return frozenset(allocation.accelerator_id for allocation in live if allocation.accelerator_id)


def _adopted(key: Key, state: NodeState) -> Allocation:
    """Return what a device that kubelet says is held stands for, by what is there now."""
    resource, device_id = key
    pool = state.plan.pools.get(resource)
    device = next((device for device in pool.devices if device.id == device_id), None) if pool else None
    if device is None or device.accelerator_id not in state.inventory:
        return Allocation(resource, device_id)
    return allocation_of(resource, device, state.inventory[device.accelerator_id].accelerator)
