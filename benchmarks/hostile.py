"""What a peer costs that sends the worst that it can: how long the loop stands, and what of the memory stays."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from pathlib import Path

from benchmarks.agent import SYSFS, running_agent, site
from benchmarks.figure import Figure, of_rounds, percentile
from benchmarks.kubelet import running_kubelet
from benchmarks.standing import rss_mib
from benchmarks.wire import Caller
from npu_agent.rpc.bounds import MOST_BYTES
from tests.rpc.hostile import hostile_client

FLOODS = 3
FLOOD_S = 2.0
SETTLE_S = 1.0

_TINY = b"\x0a\x02\x0a\x00"
"""A container that asks for one device without a name: what takes longest to read for each byte."""

REQUESTS: Mapping[str, bytes] = {
    "Allocate": _TINY * ((MOST_BYTES - 100) // len(_TINY)),
    "GetPreferredAllocation": _TINY * ((MOST_BYTES - 100) // len(_TINY)),
    "PreStartContainer": b"\x0a\x00" * ((MOST_BYTES - 100) // 2),
}


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme."""
    async with site() as where, running_kubelet(where.device_plugins) as kubelet, running_agent(where, SYSFS) as agent:
        await kubelet.list_with(healthy=len(where.cards))
        stands, calm = await _stands_ms(kubelet.endpoint)
        yield Figure("bad_request_worst_ms", max(stands), 100.0, percentile(calm, 99), "the worst empty call without it", len(stands))
        usual = rss_mib(agent.pid)
        grown = []
        for attack in (_resets, _announcements, _connections):
            await attack(kubelet.endpoint)
            await asyncio.sleep(SETTLE_S)
            grown.append(max(0.0, rss_mib(agent.pid) - usual))
        yield of_rounds("bad_peer_mib", [max(grown)], 20.0, [0.0], "none")


async def _stands_ms(endpoint: Path) -> tuple[list[float], list[float]]:
    """Return how long empty calls take while the worst requests are answered, and how long without."""
    async with Caller(endpoint) as bystander, Caller(endpoint) as peer:
        calm = [await bystander.call_ms("GetDevicePluginOptions") for _ in range(200)]
        stands = []
        for method, request in REQUESTS.items():
            asked = asyncio.ensure_future(_refused(peer.call_ms(method, request)))
            while not asked.done():
                stands.append(await bystander.call_ms("GetDevicePluginOptions"))
            await asked
    return stands, calm


async def _refused(call: Awaitable[float]) -> None:
    from grpclib.exceptions import GRPCError, StreamTerminatedError

    try:
        await call
    except (GRPCError, StreamTerminatedError):
        return


async def _resets(endpoint: Path) -> None:
    """Open streams and reset them in one write, over and over, on new connections when one is ended."""
    ended = time.monotonic() + FLOOD_S
    while time.monotonic() < ended:
        try:
            async with hostile_client(endpoint) as peer:
                for _ in range(200):
                    for _ in range(50):
                        peer.reset(peer.open())
                    await peer.flush()
        except (ConnectionError, OSError):
            continue


async def _announcements(endpoint: Path) -> None:
    """Announce 2 GiB on many streams, and begin to send them."""
    for _ in range(20):
        try:
            async with hostile_client(endpoint) as peer:
                for _ in range(20):
                    stream = peer.open()
                    peer.data(stream, b"\0" + struct.pack(">I", 2 << 30) + b"x" * 1000)
                await peer.flush()
        except (ConnectionError, OSError):
            continue


async def _connections(endpoint: Path) -> None:
    """Open many connections, with the beginning of a message of 4 MiB on each."""
    clients = []
    try:
        for _ in range(100):
            client = hostile_client(endpoint)
            try:
                peer = await client.__aenter__()
                clients.append(client)
                stream = peer.open()
                peer.announce(stream, MOST_BYTES)
                peer.data(stream, b"x" * 16000)
                await peer.flush()
            except (ConnectionError, OSError):
                continue
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)
