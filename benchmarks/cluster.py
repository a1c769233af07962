"""What labels cost: memory and processor of an agent that labels its node, requests, and how soon the node says what there is."""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import anyio

from benchmarks.agent import SYSFS, Site, running_agent, site
from benchmarks.figure import Figure, of_rounds
from benchmarks.fleet import Counted
from benchmarks.kubelet import Kubelet, running_kubelet
from benchmarks.standing import IDLE_ROUNDS, IDLE_S, SETTLE_S, cpu_s, rss_mib
from benchmarks.virtual_time import VirtualClock, run
from npu_agent.cluster.client import METADATA, ApiServer
from npu_agent.cluster.keeping import keep
from npu_agent.cluster.outputs import NodeOutput
from npu_agent.flow.current import Current
from tests.cluster.api_server import RealApiServer, api_server
from tests.e2e.go_programs import CannotPrepare
from tests.e2e.programs import prepare
from tests.node_labels.cards import card, state
from tests.program import agent_pid

CARDS = 8
FIRST = 2
"""Cards that are there before others come."""
HOURS = 100
LABELLED = {"scan_interval_s": 0.1, "cluster": {"labels": "apply"}}
COUNT = "furiosa.ai/npu.count"


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme; none where this machine cannot run an API server, which is said."""
    try:
        programs = await asyncio.to_thread(prepare, cluster=True)
    except CannotPrepare as problem:
        print(f"not measured: {problem}", file=sys.stderr, flush=True)
        return
    async with site(CARDS) as where, running_kubelet(where.device_plugins) as kubelet:
        with api_server(programs, where.root / "api") as server:
            server.add_node("n1")
            options = ("--node-name", "n1", "--kubeconfig", str(server.kubeconfig("agent")))
            plain_mib, plain_percents = await _standing(where, kubelet, SYSFS)
            mib, percents = await _standing(where, kubelet, {"cluster": {"labels": "apply"}}, *options)
            the_same = "the same agent without labels"
            yield Figure("rss_cluster_mib", mib, 46, plain_mib, the_same, 1)
            yield of_rounds("idle_cpu_cluster_percent", percents, 0.25, plain_percents, the_same)
            yield of_rounds("label_change_to_node_s", await _changes(server, options), 2.0, [0.0], "none")
            clock = VirtualClock()
            requests = await asyncio.to_thread(lambda: run(_requests_per_hour(server, clock), clock))
            yield Figure("api_requests_idle_per_hour", requests, 1.0, 0.0, "none", HOURS)


async def _standing(where: Site, kubelet: Kubelet, configuration: Mapping[str, Any], *options: str) -> tuple[float, list[float]]:
    """Return the memory of an agent that has nothing to do, in MiB, and what it takes of a processor, in percent, round by round."""
    async with running_agent(where, configuration, *options) as agent:
        await kubelet.list_with(healthy=CARDS)
        await asyncio.sleep(SETTLE_S)
        pid = agent_pid(agent.pid)
        percents = []
        for _ in range(IDLE_ROUNDS):
            before = cpu_s(pid)
            await asyncio.sleep(IDLE_S)
            percents.append((cpu_s(pid) - before) / IDLE_S * 100)
        return rss_mib(pid), percents


async def _changes(server: RealApiServer, options: Sequence[str]) -> list[float]:
    """Return how long after kubelet has heard of a new card the node says so, for each of some cards that come."""
    api, seconds = server.client(), []
    async with site(FIRST) as where, running_kubelet(where.device_plugins) as kubelet, running_agent(where, LABELLED, *options):
        await kubelet.list_with(healthy=FIRST)
        for index in range(FIRST, CARDS):
            await asyncio.sleep(random.uniform(1.5, 2.5))
            where.tree.rngd(index)
            await kubelet.list_with(healthy=index + 1)
            begun = time.monotonic()
            with anyio.fail_after(10):
                while await _count(api) != str(index + 1):
                    pass
            seconds.append(time.monotonic() - begun)
    return seconds


async def _count(api: ApiServer) -> str | None:
    node = await api.request("GET", "/api/v1/nodes/n1", accept=METADATA)
    count: str | None = node["metadata"]["labels"].get(COUNT)
    return count


async def _requests_per_hour(server: RealApiServer, clock: VirtualClock) -> float:
    api = Counted(server.access(), clock)
    with clock.hold():
        server.add_node("idle")
    async with anyio.create_task_group() as tasks:
        current = Current(state(card()))

        async def agent() -> None:
            await keep(current, NodeOutput(api, "idle", prefix="npu-agent.io", taint=None), lambda *_: None)

        tasks.start_soon(agent)
        async for _ in api.written.follow():
            if api.written.value:
                break
        await anyio.sleep(5)
        before = sum(api.done.values())
        await anyio.sleep(HOURS * 3600)
        found = (sum(api.done.values()) - before) / HOURS
        tasks.cancel_scope.cancel()
    return found
