"""A long time on kubelet's own device manager in a few minutes: restarts, cut streams and faults at random, with pods coming and going.

`python -m tests.kubelets.soak [--seed N] [--rounds N]` runs N cuts and N faults (1,000) and three times as many restarts, shared by
the versions in `KUBELET_VERSIONS`. After each, within two seconds, kubelet's capacity and allocatable must be those of the host, and
every pod must hold its own devices. The end is a table of figures.
"""

import argparse
import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio

from tests.kubelets import build
from tests.kubelets.faults import Host
from tests.kubelets.manager import ManagerFailed
from tests.kubelets.node import KubeletNode
from tests.scenarios.agent import Agent
from tests.scenarios.node import PodRejected

CARDS = 8
SETTLES_WITHIN_S = 2.0
GROWTH_KIB = 2048
RESTARTS_PER_ROUND = 3
"""A restart takes a tenth of the time of the others, and the p99 of each version needs more than a hundred."""
AT_ONCE = 4
"""Versions whose cuts and faults run at the same time: they mostly wait."""


class SoakFailed(Exception):
    """Something that must hold does not; the text is what, where and in which round."""


@dataclass(slots=True)
class Figures:
    """What one version took, in seconds, and what the agent had after the first tenth of the restarts and after the last."""

    version: str
    back_s: list[float] = field(default_factory=list)
    cut_s: list[float] = field(default_factory=list)
    settle_s: list[float] = field(default_factory=list)
    memory_kib: tuple[int, int] = (0, 0)
    files: tuple[int, int] = (0, 0)
    pods: int = 0


@asynccontextmanager
async def fresh_host(version: str, program: Path, seed: int) -> AsyncIterator[Host]:
    """A node of that version on which the agent has settled."""
    with tempfile.TemporaryDirectory(prefix="npu-", dir="/dev/shm") as folder:
        async with (
            KubeletNode(version, program, Path(folder)) as node,
            Agent(node, cards=CARDS, probe_timeout_s=0.2) as agent,
        ):
            host = Host(node, agent, random.Random(f"{seed} {version}"), CARDS)
            await host.settle(within_s=20)
            yield host


async def repeat(figures: Figures, host: Host, kind: str, rounds: int, once: Callable[[], Awaitable[None]]) -> None:
    """Run rounds of one kind, and compare the agent's memory and open files after the first tenth of them with those at the end."""
    warm = max(1, rounds // 10)
    for number in range(rounds):
        try:
            await once()
            await host.check_pods()
        except (ManagerFailed, PodRejected, AssertionError, TimeoutError) as error:
            done = "\n  ".join(host.done[-12:])
            raise SoakFailed(
                f"kubelet {figures.version}, {kind} {number + 1}: {error}\nbefore:\n  {done}\nthe agent said:\n{_tail(host.agent.said())}"
            ) from error
        if number + 1 == warm:
            before = host.agent_uses()
    if kind == "fault":
        return  # the agent has restarted in between
    after = await host.agent_at_rest(before)
    if kind == "restart":
        figures.memory_kib, figures.files = (before.memory_kib, after.memory_kib), (before.files, after.files)
    if after.files > before.files or after.memory_kib - before.memory_kib > GROWTH_KIB:
        raise SoakFailed(f"kubelet {figures.version}: over {rounds - warm} rounds of {kind} the agent grew from {before} to {after}")


async def restart(host: Host, figures: Figures) -> None:
    """Kubelet ends in one of two ways, is away for a while, and must have everything back soon after it listens."""
    await host.come_and_go()
    await host.end_kubelet()
    await asyncio.sleep(host.rng.choice([0.0, host.rng.uniform(0, 0.05)]))
    await host.start_kubelet()
    figures.back_s.append(await host.settle(within_s=SETTLES_WITHIN_S))
    # Also at the moment when the agent is in the middle of registering.
    await asyncio.sleep(host.rng.choice([0.0, host.rng.uniform(0, 0.03)]))


async def cut(host: Host, figures: Figures) -> None:
    """Kubelet loses its connection while both sockets stay."""
    await host.come_and_go()
    await host.cut()
    figures.cut_s.append(await host.settle(within_s=SETTLES_WITHIN_S))


async def fault(host: Host, figures: Figures) -> None:
    """Something happens to a card, the agent, kubelet or the files between them; now and then several things at once."""
    for _ in range(host.rng.choice([1, 1, 2, 4])):
        await host.something()
    began = time.monotonic()
    await host.settle(within_s=SETTLES_WITHIN_S)
    figures.settle_s.append(time.monotonic() - began)
    await host.come_and_go()
    await host.settle(within_s=SETTLES_WITHIN_S)


def table(all_figures: Sequence[Figures]) -> str:
    """Return the figures as text."""
    kinds = " ".join(f"{kind:^22}" for kind in ("back_to_register_s", "cut_to_register_s", "fault_to_truth_s"))
    measures = " ".join(f"{'median':>7} {'p99':>6} {'max':>7}" for _ in range(3))
    rows = [f"{'kubelet':<8} {kinds} {'pods':>5} {'rss KiB':>14} {'files':>8}", f"{'':<8} {measures}"]
    for figures in all_figures:
        seconds = " ".join(
            f"{statistics.median(values):>7.3f} {quantile(values, 0.99):>6.3f} {max(values):>7.3f}"
            for values in (figures.back_s, figures.cut_s, figures.settle_s)
        )
        memory = f"{figures.memory_kib[0]}→{figures.memory_kib[1]}"
        files = f"{figures.files[0]}→{figures.files[1]}"
        rows.append(f"{figures.version:<8} {seconds} {figures.pods:>5} {memory:>14} {files:>8}")
    return "\n".join(rows)


def quantile(values: Sequence[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-15:])


async def run(programs: Mapping[str, Path], rounds: int, seed: int) -> list[Figures]:
    """Soak all versions; each takes its share of the rounds. Raises SoakFailed, alone or in a group."""
    share = -(-rounds // len(programs))
    restarts = -(-rounds * RESTARTS_PER_ROUND // len(programs))
    all_figures = {version: Figures(version) for version in programs}
    # Restarts are measured, so nothing else runs beside them.
    for version, figures in all_figures.items():
        async with fresh_host(version, programs[version], seed) as host:
            await repeat(figures, host, "restart", restarts, partial(restart, host, figures))
            figures.pods += host.pods_run
        _say(f"kubelet {version} is through {restarts} restarts")
    at_once = anyio.CapacityLimiter(AT_ONCE)

    async def break_things(version: str, figures: Figures) -> None:
        async with at_once, fresh_host(version, programs[version], seed) as host:
            await repeat(figures, host, "cut", share, lambda: cut(host, figures))
            await repeat(figures, host, "fault", share, lambda: fault(host, figures))
            figures.pods += host.pods_run
        _say(f"kubelet {version} is through {share} cuts and {share} faults")

    async with anyio.create_task_group() as tasks:
        for version, figures in all_figures.items():
            tasks.start_soon(break_things, version, figures)
    return list(all_figures.values())


def _say(text: str) -> None:
    sys.stderr.write(f"soak: {text}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.randrange(1_000_000))
    parser.add_argument("--rounds", type=int, default=1000)
    options = parser.parse_args()
    sys.stdout.write(f"seed {options.seed}\n")
    sys.stdout.flush()
    try:
        versions = build.wanted_versions(os.environ.get("KUBELET_VERSIONS", ""))
        programs = {version: build.prepare(version) for version in versions}
    except build.CannotPrepare as problem:
        sys.exit(f"soak: {problem}")
    try:
        figures = asyncio.run(run(programs, options.rounds, options.seed))
    except* SoakFailed as problems:
        sys.exit("\n".join(f"soak: {problem}" for problem in problems.exceptions))
    sys.stdout.write(f"{table(figures)}\n")


if __name__ == "__main__":
    main()
