"""How soon kubelet hears from the agent: after its start, after kubelet's, after a lost connection; and how soon it is gone."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

from benchmarks.agent import SYSFS, Site, running_agent, site, stop
from benchmarks.figure import Figure, of_rounds, percentile
from benchmarks.floors import bare_server, connect_and_call_s, import_s
from benchmarks.kubelet import Kubelet, running_kubelet

STARTS = 20
RETURNS = 100
CUTS = 20

LIVED_S = 1.1
"""A stream that kubelet ends sooner than a second after it began is a failure, and has a longer wait for its answer."""


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme."""
    async with site() as where, running_kubelet(where.device_plugins) as kubelet:
        async for figure in _starts_and_ends(where, kubelet):
            yield figure
        async with bare_server(where.root / "bare.sock"):
            first_calls = [await connect_and_call_s(where.root / "bare.sock") for _ in range(50)]
        async with running_agent(where, SYSFS):
            await kubelet.registration()
            returns = [await _return(kubelet) for _ in range(RETURNS)]
            cuts = [await _cut(kubelet) for _ in range(CUTS)]
    first_call = "the first call on a new connection"
    yield of_rounds("kubelet_back_to_register_s", returns, 0.01, first_calls, first_call)
    yield Figure("kubelet_back_to_register_p99_s", percentile(returns, 99), 0.03, percentile(first_calls, 99), first_call, RETURNS)
    yield of_rounds("stream_cut_to_register_s", cuts, 1.5, first_calls, first_call)


async def _starts_and_ends(where: Site, kubelet: Kubelet) -> AsyncIterator[Figure]:
    starts, ends, imports = [], [], []
    for _ in range(STARTS):
        started = time.monotonic()
        process = await where.start(SYSFS)
        starts.append(await kubelet.registration() - started)
        await kubelet.list_with(healthy=len(where.cards))
        ends.append(await stop(process))
        imports.append(await import_s())
    yield of_rounds("start_to_register_s", starts, 1.4 * percentile(imports, 50), imports, "Python importing the same libraries")
    yield of_rounds("shutdown_s", ends, 0.5, [0.0], "none")


async def _return(kubelet: Kubelet) -> float:
    """Stop kubelet for a while, and return how long after its return the agent registers."""
    await kubelet.next_list()
    await kubelet.stop()
    await asyncio.sleep(random.uniform(0.1, 0.3))
    back = await kubelet.start()
    return await kubelet.registration() - back


async def _cut(kubelet: Kubelet) -> float:
    await kubelet.next_list()
    await asyncio.sleep(LIVED_S)
    cut = time.monotonic()
    await kubelet.cut()
    return await kubelet.registration() - cut
