"""This node, looked after: backends, tracking, holders, memory and allocation, with the one writer of the node state."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio

from npu_agent.config.configuration import Configuration
from npu_agent.core.errors import CommandRefused
from npu_agent.core.planning import Wanted
from npu_agent.flow.current import Current
from npu_agent.node.allocation import Allocator
from npu_agent.node.errors import BackendFailed
from npu_agent.node.holding import Ask, Holding
from npu_agent.node.memory import Memory, Store
from npu_agent.node.tracker import Asked, Tracker
from npu_agent.node.writer import Clock, StateWriter, machine_clock

HOLDERS_WITHIN_S = 1.0
"""Seconds that the start waits for kubelet to say who holds what, before cards are given their names."""

STARTED_WITHIN_S = 3.0
"""Seconds that a command waits for a backend that is starting."""

SCAN_WITHIN_S = 1.0
READ_WITHIN_S = 0.2
"""Seconds that the first list waits for backends that look for cards, and for cards that have not been read yet."""


class Node:
    """What there is on this node (`state`), and the two things that can be asked for: an allocation, and a command of a backend."""

    def __init__(
        self,
        configuration: Configuration,
        backends: Mapping[str, Asked],
        *,
        host_root: Path,
        ask: Ask,
        store: Store | None = None,
        clock: Clock = machine_clock,
        allow_plain_files: bool = False,
    ) -> None:
        self.backends: Current[Mapping[str, Asked]] = Current(dict(backends))
        self.writer = StateWriter(wanted_by(configuration), clock=clock)
        self.state = self.writer.state
        self._memory = Memory(store, self.writer.tell)
        self._tracker = Tracker(self.backends, configuration, self.writer, self._memory)
        self._holding = Holding(ask, self._memory, self.writer, linger_s=configuration.vanished_linger_s, merge=self._tracker.merge)
        self.allocator = Allocator(self.writer, self._memory, self._tracker, host_root, allow_plain_files=allow_plain_files)

    async def run(self, ready: anyio.Event, *, scan_within_s: float = SCAN_WITHIN_S, read_within_s: float = READ_WITHIN_S) -> None:
        """Look after the node for as long as it runs.

        `ready` is set when there is something to tell kubelet: each backend has looked once and each card has been read, or the time
        for either is over.
        """
        await self._memory.load(self.writer.clock())
        self.writer.put_allocations(self._memory.live)
        with anyio.move_on_after(HOLDERS_WITHIN_S):
            await self._holding.look()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tracker.run)
            await self._tracker.first_look(scan_within_s=scan_within_s, read_within_s=read_within_s)
            self._memory.adopt(self.writer.publish())
            self.writer.put_allocations(self._memory.live)
            self.writer.publish()
            ready.set()
            tasks.start_soon(self._holding.run)
            await self._learn()

    async def _learn(self) -> None:
        """Keep what is remembered of cards that are held in step with what can be read of them."""
        async for state in self.state.follow():
            self._memory.adopt(state)
            self.writer.put_allocations(self._memory.live)
            await self._memory.save()

    @property
    def held_resources(self) -> frozenset[str]:
        """The resources of which a pod may still hold a device."""
        return frozenset(allocation.resource for allocation in self._memory.live)

    async def look_at_holders(self) -> None:
        """Ask kubelet now who holds what."""
        await self._holding.look()

    async def absent_nodes(self) -> frozenset[str]:
        """Return the host paths of optional device nodes that the host does not have."""
        return await self.allocator.absent_nodes()

    def kubelet_changed(self) -> None:
        """Note that kubelet has started anew."""
        self._holding.kubelet_changed()

    async def command(self, backend: str, command: str, arguments: Sequence[str]) -> str:
        """Have a backend carry out a command. Raises CommandRefused."""
        if backend not in self.backends.value:
            raise CommandRefused(f"this agent runs without the backend {backend!r}; it has {', '.join(self.backends.value)}")
        with anyio.move_on_after(STARTED_WITHIN_S):
            await self._tracker.started(backend)
        asked = self._tracker.backend(backend)
        if asked is None:
            raise CommandRefused(f"the backend {backend!r} is not running; npu-agent list tells why")
        try:
            return await asked.command(command, arguments)
        except BackendFailed as failure:
            raise CommandRefused(str(failure)) from failure


def wanted_by(configuration: Configuration) -> Wanted:
    """Return what a configuration asks for."""
    return Wanted(tuple(configuration.resources), configuration.exclude)
