"""What the agent takes while it stands there: memory after an hour of probes, and the processor."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from asyncinotify import Inotify, Mask

from benchmarks.agent import SYSFS, running_agent, site
from benchmarks.figure import Figure, of_rounds
from benchmarks.floors import bare
from benchmarks.kubelet import running_kubelet
from tests.program import agent_pid

CARDS = 8
HOUR_OF_PROBES = 3600 * CARDS
GROWTH_PROBES = 10_000
WARM_PROBES = 2_000
IDLE_ROUNDS = 5
IDLE_S = 10.0
"""Twice the time between two scans."""
SETTLE_S = 3.0

QUICK_PROBES = {"probe_interval_s": 0.05}
"""The least that the configuration takes: an hour of probes takes three minutes."""


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme."""
    async with site(CARDS) as where, running_kubelet(where.device_plugins) as kubelet:
        files = [str(where.tree.path(card, "device_state")) for card in where.cards]
        async with running_agent(where, SYSFS) as agent:
            await kubelet.list_with(healthy=CARDS)
            floor = await bare("idle", *files)
            await asyncio.sleep(SETTLE_S)
            percents, floors = [], []
            for _ in range(IDLE_ROUNDS):
                before, floor_before = cpu_s(agent_pid(agent.pid)), cpu_s(floor.pid)
                await asyncio.sleep(IDLE_S)
                percents.append((cpu_s(agent_pid(agent.pid)) - before) / IDLE_S * 100)
                floors.append((cpu_s(floor.pid) - floor_before) / IDLE_S * 100)
            floor_mib = rss_mib(floor.pid)
            floor.kill()
            await floor.wait()
        yield of_rounds("idle_cpu_percent", percents, 0.2, floors, "Python reading the same files once a second")
        async with running_agent(where, QUICK_PROBES) as agent:
            await kubelet.list_with(healthy=CARDS)
            await probes(Path(files[0]), WARM_PROBES // CARDS)
            warm = rss_mib(agent_pid(agent.pid))
            await probes(Path(files[0]), GROWTH_PROBES // CARDS)
            grown = rss_mib(agent_pid(agent.pid))
            await probes(Path(files[0]), (HOUR_OF_PROBES - WARM_PROBES - GROWTH_PROBES) // CARDS)
            yield Figure("rss_mib", rss_mib(agent_pid(agent.pid)), 36, floor_mib, "Python with the same libraries", HOUR_OF_PROBES)
        yield Figure("rss_growth_of_10000_probes_mib", max(0.0, grown - warm), 0.5, 0.0, "none", GROWTH_PROBES)


async def probes(attribute: Path, count: int) -> None:
    """Return when the agent has read the attribute of a card so many times more."""
    with Inotify() as inotify:
        inotify.add_watch(attribute, Mask.OPEN | Mask.CLOSE_NOWRITE)
        async with asyncio.timeout(600):
            async for event in inotify:
                count -= bool(event.mask & Mask.OPEN)
                if count <= 0:
                    return


def cpu_s(pid: int) -> float:
    """Return the seconds of processor time that the threads of the process have had, to the nanosecond and not to the tick."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def rss_mib(pid: int) -> float:
    """Return what the process has of the memory, shared libraries included."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024
