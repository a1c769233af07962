"""A thousand agents that label their nodes on one real API server: what they ask of it, and that they never all come at once.

`python -m benchmarks.fleet [COUNT]`. The agents are their label writers as tasks of this process, on a clock that jumps over waits: an
hour in which nothing happens takes seconds. The API server and its etcd are real processes, and so is what goes over the wire.
"""

import asyncio
import json
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio

from benchmarks.figure import Figure, percentile, table, write
from benchmarks.proxy import Traffic, counted
from benchmarks.standing import cpu_s
from benchmarks.virtual_time import VirtualClock, run
from npu_agent.cluster.access import Access
from npu_agent.cluster.client import ApiServer
from npu_agent.cluster.keeping import keep
from npu_agent.cluster.labels import describe
from npu_agent.cluster.outputs import NodeOutput
from npu_agent.core.state import NodeState
from npu_agent.flow.current import Current
from tests.cluster.api_server import RealApiServer, api_server
from tests.e2e.programs import prepare
from tests.node_labels.cards import card, inventory

COUNT = 1000
ROLLOUT_S = 60.0
"""Seconds over which the agents start. A DaemonSet with maxUnavailable 1 takes far longer, a cluster that is switched on not."""
HOURS = 10
AWAY_S = 60.0
RESULT = Path("build/bench-fleet.json")


class Counted(ApiServer):
    """What all agents of the fleet ask by. Time passes as it does outside while one of them waits for an answer."""

    def __init__(self, access: Access, clock: VirtualClock) -> None:
        super().__init__(lambda: access)
        self.clock = clock
        self.done: Counter[str] = Counter()
        self.failed = 0
        self.written_at: dict[str, float] = {}
        """By path, when an object was written last, on the loop's clock."""
        self.written = Current(0)

    async def request(self, method: str, path: str, **more: Any) -> Mapping[str, Any]:
        with self.clock.hold():
            try:
                answer = await super().request(method, path, **more)
            except Exception:
                self.failed += 1
                raise
        self.done[method] += 1
        if method == "PATCH":
            self.written_at[path] = asyncio.get_running_loop().time()
            self.written.set(self.written.value + 1)
        return answer


@dataclass
class Fleet:
    """The agents: the state of each node, and what they have told of problems."""

    api: Counted
    traffic: Traffic
    server: RealApiServer
    states: dict[str, Current[NodeState]]
    problems: dict[str, str] = field(default_factory=dict)

    async def run(self, started: anyio.Event) -> None:
        async with anyio.create_task_group() as tasks:
            for name in self.states:
                tasks.start_soon(self._agent, name)
            started.set()

    async def _agent(self, name: str) -> None:
        await anyio.sleep(random.uniform(0, ROLLOUT_S))

        def tell(_: str, problem: str) -> None:
            self.problems[name] = problem

        await keep(self.states[name], NodeOutput(self.api, name, prefix="npu-agent.io", taint=None), tell)

    def change(self, cards: int) -> None:
        """Have all nodes carry so many cards."""
        state = NodeState(inventory=inventory(*(card(index=index) for index in range(cards))))
        for current in self.states.values():
            current.set(replace(state))

    async def until_written(self, count: int) -> None:
        async for _ in self.api.written.follow():
            if len(self.api.written_at) >= count:
                return


@dataclass
class Phase:
    """What the fleet did in a while. Bytes are those on the wire, `server_cpu_s` is the processor time of the API server alone."""

    requests: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    bytes: int = 0
    server_cpu_s: float = 0.0


@contextmanager
def phase(fleet: Fleet) -> Iterator[Phase]:
    """Yield what is filled in when the block ends."""
    api, traffic, found = fleet.api, fleet.traffic, Phase()
    done, failed = Counter(api.done), api.failed
    moved, cpu = traffic.to_client + traffic.to_server, _server_cpu_s(fleet.server)
    yield found
    found.requests = api.done - done
    found.failed = api.failed - failed
    found.bytes = traffic.to_client + traffic.to_server - moved
    found.server_cpu_s = _server_cpu_s(fleet.server) - cpu


async def measure(server: RealApiServer, count: int, clock: VirtualClock) -> list[Figure]:
    """Return the figures of a fleet of `count` agents."""
    names = [f"fleet-{number:04}" for number in range(count)]
    with clock.hold():
        await _add_nodes(server, names)
    async with _fleet(server, names, clock) as fleet, anyio.create_task_group() as tasks:
        started = anyio.Event()
        tasks.start_soon(fleet.run, started)
        with phase(fleet) as setting:
            await fleet.until_written(count)
        await anyio.sleep(5)  # all have settled
        with phase(fleet) as idle:
            await anyio.sleep(HOURS * 3600)
        fleet.api.written_at.clear()
        with phase(fleet) as returning:
            with clock.hold():
                await asyncio.to_thread(server.stop)
            fleet.change(9)
            await anyio.sleep(AWAY_S)
            with clock.hold():
                await asyncio.to_thread(server.start)
            back, cpu = asyncio.get_running_loop().time(), _server_cpu_s(server)
            await fleet.until_written(count)
        returning.server_cpu_s = _server_cpu_s(server) - cpu  # not what its start took
        tasks.cancel_scope.cancel()
    with clock.hold():
        _check(server, names)
    returns = sorted(at - back for at in fleet.api.written_at.values())
    busiest = max(Counter(int(at) for at in returns).values())
    return [
        *_figures("set", setting, count),
        Figure("fleet_idle_requests_per_node_and_hour", sum(idle.requests.values()) / count / HOURS, 1.0, 0.0, "none", count),
        Figure("fleet_idle_bytes_per_node_and_hour", idle.bytes / count / HOURS, 16 * 1024, 0.0, "none", count),
        Figure("fleet_idle_server_cpu_ms_per_node_and_hour", idle.server_cpu_s / count / HOURS * 1000, 20, 0.0, "none", count),
        Figure("fleet_idle_writes", idle.requests["PATCH"], 0, 0, "none", count),
        *_figures("return", returning, count),
        # A spread is to be at least, so its shortfall is what is compared.
        Figure("fleet_return_spread_shortfall_s", max(0.0, 30.0 - (returns[-1] - returns[0])), 0.0, 0.0, "none", count),
        Figure("fleet_return_failed_tries_per_node", returning.failed / count, 10.0, 0.0, "none", count),
        Figure("fleet_return_last_s", returns[-1], 120.0, 0.0, "none", count),
        Figure("fleet_return_median_s", percentile(returns, 50), 60.0, 0.0, "none", count),
        Figure("fleet_return_busiest_second", busiest, count / 10, count / 60, "all spread over a minute", count),
        Figure("fleet_return_lost", count - len(returns), 0, 0, "none", count),
    ]


def _figures(name: str, found: Phase, count: int) -> list[Figure]:
    requests = sum(found.requests.values())
    return [
        Figure(f"fleet_{name}_requests_per_node", requests / count, 4, 0, "none", count),
        Figure(f"fleet_{name}_bytes_per_node", found.bytes / count, 64 * 1024, 0, "none", count),
        Figure(f"fleet_{name}_server_cpu_ms_per_node", found.server_cpu_s / count * 1000, 50, 0, "none", count),
    ]


@asynccontextmanager
async def _fleet(server: RealApiServer, names: list[str], clock: VirtualClock) -> AsyncIterator[Fleet]:
    async with counted(server.port) as traffic:
        api = Counted(replace(server.access(), server=traffic.url), clock)
        fleet = Fleet(api, traffic, server, {name: Current(NodeState()) for name in names})
        fleet.change(8)
        yield fleet


async def _add_nodes(server: RealApiServer, names: list[str]) -> None:
    """Make the nodes, each with as much in it as kubelet writes."""
    images = [{"names": [f"example.com/image-{number}@sha256:{'a' * 64}"], "sizeBytes": number} for number in range(50)]
    api = server.client()
    for name in names:
        labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": {"images": images}}
        await api.request("POST", "/api/v1/nodes", body=node)


def _check(server: RealApiServer, names: list[str]) -> None:
    """See on the API server itself that each node says what it is to."""
    wanted = describe(inventory(*(card(index=index) for index in range(9)))).labels
    nodes = json.loads(server.kubectl("get", "nodes", "-o", "json"))["items"]
    labels = {node["metadata"]["name"]: node["metadata"]["labels"] for node in nodes}
    wrong = [name for name in names if not wanted.items() <= labels[name].items()]
    if wrong:
        raise AssertionError(f"{len(wrong)} nodes are not labelled, {wrong[0]} is one of them")


def _server_cpu_s(server: RealApiServer) -> float:
    assert server.process is not None
    return cpu_s(server.process.pid) if server.process.poll() is None else 0.0


def main() -> None:
    """Measure a fleet, print the table, and write build/bench-fleet.json."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    programs = prepare(cluster=True)
    folder = Path(tempfile.mkdtemp(prefix="npu-fleet-"))
    random.seed(1)
    clock = VirtualClock()
    try:
        with api_server(programs, folder / "api") as server:
            figures = run(measure(server, count, clock), clock)
    finally:
        shutil.rmtree(folder)
    write(figures, RESULT)
    print(table(figures))
    print(f"{count} agents. Written to {RESULT}.")
    if any(not figure.is_met for figure in figures):
        sys.exit(1)


if __name__ == "__main__":
    main()
