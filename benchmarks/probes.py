"""What probes over HTTP cost: memory, the processor, and what others wait while somebody floods them."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.agent import SYSFS, running_agent, site
from benchmarks.figure import Figure, of_rounds
from benchmarks.kubelet import running_kubelet
from benchmarks.standing import cpu_s, rss_mib
from benchmarks.wire import Caller
from tests.program import agent_pid
from tests.scenarios.eventually import eventually

CARDS = 8
ROUNDS = 20
PERIOD_S = 10.0
"""Seconds between two probes of one kind, by default."""
APART_S = 1.05
"""A measurement of the agent holds for a second, so each of these is one."""
SETTLE_S = 3.0
QUIET_S = 20.0
FLOOD_S = 3.0
CONNECTIONS = 64
PROBE = b"GET %s HTTP/1.1\r\nHost: node\r\nUser-Agent: kube-probe/1.36\r\nConnection: close\r\n\r\n"
FLOOD = b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n" * 100


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme."""
    async with site(CARDS) as where, running_kubelet(where.device_plugins) as kubelet:
        async with running_agent(where, SYSFS) as agent:
            await kubelet.list_with(healthy=CARDS)
            await asyncio.sleep(SETTLE_S)
            without_mib = rss_mib(agent_pid(agent.pid))
        async with running_agent(where, SYSFS, "--http", "127.0.0.1:0") as agent:
            await kubelet.list_with(healthy=CARDS)
            port = await _port(where.log)
            pid = agent_pid(agent.pid)
            await asyncio.sleep(SETTLE_S)
            before, at = cpu_s(pid), time.monotonic()
            await asyncio.sleep(QUIET_S)
            quiet = (cpu_s(pid) - before) / (time.monotonic() - at)
            before, at = cpu_s(pid), time.monotonic()
            answers_ms = []
            for _ in range(ROUNDS):
                answers_ms += [await _probe_ms(port, path) for path in (b"/healthz", b"/readyz")]
                await asyncio.sleep(APART_S)
            each_s = (cpu_s(pid) - before - quiet * (time.monotonic() - at)) / ROUNDS
            added_mib = rss_mib(pid) - without_mib
            async with Caller(kubelet.endpoint) as plugin:
                calm = [await plugin.call_ms("GetDevicePluginOptions") for _ in range(200)]
                waits = await _flooded_ms(plugin, port)
            flooded_mib = rss_mib(pid) - without_mib
    yield of_rounds("probe_answer_ms", answers_ms, 10, calm, "an empty call of the plugin")
    yield Figure("probes_cpu_percent", max(0.0, each_s) / PERIOD_S * 100, 0.05, 0.0, "none", ROUNDS)
    yield Figure("http_mib", max(0.0, added_mib), 1, 0.0, "the same agent without it", 1)
    yield Figure("http_flooded_mib", max(0.0, flooded_mib), 3, 0.0, "the same agent without it", CONNECTIONS)
    yield of_rounds("call_in_a_flood_ms", waits, 100, calm, "the same without a flood")


async def _port(log: Path) -> int:
    """Return the port on which the agent serves."""

    async def said() -> list[str]:
        return re.findall(r"over HTTP on 127\.0\.0\.1:(\d+)", log.read_text(encoding="utf-8"))

    return int((await eventually(said, bool))[0])


async def _probe_ms(port: int, path: bytes) -> float:
    """Return how long a probe takes as kubelet makes it, on a connection of its own."""
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(PROBE % path)
    answer = await reader.read()
    taken = time.perf_counter() - started
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 OK"), answer
    return taken * 1000


async def _flooded_ms(plugin: Caller, port: int) -> list[float]:
    """Return how long empty calls of the plugin take while as many as may do ask over HTTP as fast as they are answered."""

    async def flood() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while True:
                writer.write(FLOOD)
                await writer.drain()
                await reader.read(65536)
        finally:
            writer.transport.abort()

    flooding = [asyncio.create_task(flood()) for _ in range(CONNECTIONS)]
    await asyncio.sleep(0.5)
    until = time.monotonic() + FLOOD_S
    waits = []
    while time.monotonic() < until:
        waits.append(await plugin.call_ms("GetDevicePluginOptions"))
    for task in flooding:
        task.cancel()
    await asyncio.gather(*flooding, return_exceptions=True)
    return waits
