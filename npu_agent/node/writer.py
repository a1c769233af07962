"""The writer of the node state: the only place where a new one is made."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

from npu_agent.core.allocations import Allocation, Conflicts
from npu_agent.core.inventory import Inventory
from npu_agent.core.moment import Moment
from npu_agent.core.planning import Wanted, plan
from npu_agent.core.state import Holders, NodeState, Problem
from npu_agent.flow.current import Current

Clock = Callable[[], Moment]


def machine_clock() -> Moment:
    """Return the moment that it is now on this machine."""
    return Moment(time.monotonic(), time.time())


class StateWriter:
    """Publishes the node state: what is put here in one turn of the loop is one new state."""

    def __init__(self, wanted: Wanted, *, clock: Clock = machine_clock) -> None:
        self.state = Current(NodeState())
        self.clock = clock
        self._wanted = wanted
        self._inventory: Inventory = {}
        self._live: tuple[Allocation, ...] = ()
        self._preparing: frozenset[str] = frozenset()
        self._holders: Holders | None = None
        self._holders_problem = ""
        self._problems: dict[str, Problem] = {}
        self._revision = 1
        self._scheduled: asyncio.Handle | None = None

    @property
    def inventory(self) -> Inventory:
        """The accelerators as they were put last, published or not."""
        return self._inventory

    def put_inventory(self, inventory: Inventory) -> None:
        if inventory is not self._inventory:
            self._inventory = inventory
            self._schedule()

    def put_allocations(self, live: tuple[Allocation, ...]) -> None:
        """Take the allocations that a pod may still hold."""
        if live != self._live:
            self._live = live
            self._schedule()

    def put_holders(self, holders: Holders | None, problem: str = "") -> None:
        if (holders, problem) != (self._holders, self._holders_problem):
            self._holders, self._holders_problem = holders, problem
            self._schedule()

    def put_preparing(self, backends: frozenset[str]) -> None:
        """Take the names of the backends that are asked before each start of a container."""
        if backends != self._preparing:
            self._preparing = backends
            self._schedule()

    def want(self, wanted: Wanted) -> None:
        """Have another configuration in force."""
        self._wanted = wanted
        self._revision += 1
        self._schedule()

    def tell(self, source: str, text: str) -> None:
        """Say what `source` cannot do now, or by an empty text that it can again."""
        known = self._problems.get(source)
        if text and (known is None or known.text != text):
            self._problems[source] = Problem(source, text, known.since if known else self.clock().date)
            self._schedule()
        elif not text and known is not None:
            del self._problems[source]
            self._schedule()

    def publish(self) -> NodeState:
        """Make the state of what was put so far, and return it."""
        if self._scheduled is not None:
            self._scheduled.cancel()
            self._scheduled = None
        before = self.state.value
        made = plan(
            self._inventory,
            self._wanted,
            conflicts=Conflicts(self._live),
            preparing=self._preparing,
            previous=before.plan,
        )
        self.state.set(
            replace(
                before,
                inventory=self._inventory,
                plan=made,
                problems=dict(self._problems),
                holders=self._holders,
                holders_problem=self._holders_problem,
                revision=self._revision,
            )
        )
        return self.state.value

    def _schedule(self) -> None:
        if self._scheduled is None:
            self._scheduled = asyncio.get_running_loop().call_soon(self.publish)
