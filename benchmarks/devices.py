"""How soon kubelet hears of a card that fails, and how quick its calls are answered."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

from grpclib.client import Channel

from benchmarks.agent import SYSFS, Site, running_agent, site
from benchmarks.figure import Figure, median, percentile
from benchmarks.floors import bare_server
from benchmarks.kubelet import Kubelet, running_kubelet
from npu_agent.api.v1beta1 import AllocateRequest, ContainerAllocateRequest, DevicePluginStub, Empty
from npu_agent.core.health import Health
from npu_agent.core.pool import Device, Pool
from npu_agent.core.preferred import prefer

FAILURES = 24
CALLS = 500
LISTS = 40
PREFERENCES = 200

PROBE_INTERVAL_S = 1.0
"""The default, which the figure is for."""


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme."""
    async with site() as where, running_kubelet(where.device_plugins) as kubelet, running_agent(where, SYSFS):
        device = (await kubelet.list_with(healthy=len(where.cards))).message.devices[0].id
        async with bare_server(where.root / "bare.sock") as bare, Channel(path=str(kubelet.endpoint)) as channel:
            calls = await _allocations_ms(DevicePluginStub(channel), device)
            empty_calls = await _empty_calls_ms(bare)
        failures = await _failures_s(where, kubelet)
    empty = "an empty call of the same library"
    yield Figure("allocate_p50_ms", median(calls), 1.5, median(empty_calls), empty, CALLS)
    yield Figure("health_to_kubelet_s", median(failures), 0.6, PROBE_INTERVAL_S / 2, "half a probe interval", FAILURES)
    yield Figure("health_to_kubelet_worst_s", max(failures), 1.1, PROBE_INTERVAL_S, "a probe interval", FAILURES)
    yield await _first_list(1024)
    yield _preferred()


async def _allocations_ms(plugin: DevicePluginStub, device: str) -> list[float]:
    request = AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=[device])])
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        await plugin.allocate(request)
        taken.append((time.perf_counter() - started) * 1000)
    return taken


async def _empty_calls_ms(plugin: DevicePluginStub) -> list[float]:
    taken = []
    for _ in range(CALLS):
        started = time.perf_counter()
        await plugin.get_device_plugin_options(Empty())
        taken.append((time.perf_counter() - started) * 1000)
    return taken


async def _failures_s(where: Site, kubelet: Kubelet) -> list[float]:
    """Return how long after each failure kubelet has it, the failures being spread evenly over the probe interval."""
    phases = [PROBE_INTERVAL_S * (index + 0.5) / FAILURES for index in range(FAILURES)]
    random.shuffle(phases)
    taken = []
    for index, phase in enumerate(phases):
        card = where.cards[index % len(where.cards)]
        await asyncio.sleep(phase)
        failed = time.monotonic()
        # In place: an attribute of sysfs is never away, not even for a moment.
        where.tree.path(card, "device_state").write_text("1\n")
        listed = await kubelet.list_with(healthy=len(where.cards) - 1 - index % len(where.cards))
        taken.append(listed.at - failed)
        if (index + 1) % len(where.cards) == 0:
            for healed in where.cards:
                where.tree.path(healed, "device_state").write_text("0\n")
            await kubelet.list_with(healthy=len(where.cards))
    return taken


async def _first_list(count: int) -> Figure:
    configuration = {"backends": {"fake": {"accelerators": count}}, "resources": [{"name": "furiosa.ai/npu"}]}
    async with site(cards=0) as where, running_kubelet(where.device_plugins) as kubelet, running_agent(where, configuration):
        await kubelet.list_with(healthy=count)
        async with bare_server(where.root / "bare.sock", count) as bare, Channel(path=str(kubelet.endpoint)) as channel:
            plugin = DevicePluginStub(channel)
            taken = [await _first_list_ms(plugin) for _ in range(LISTS)]
            floor = [await _first_list_ms(bare) for _ in range(LISTS)]
    return Figure(f"first_list_{count}_ms", median(taken), 50, median(floor), "a server that only has the message", LISTS)


async def _first_list_ms(plugin: DevicePluginStub) -> float:
    started = time.perf_counter()
    async for _ in plugin.list_and_watch(Empty()):
        break
    return (time.perf_counter() - started) * 1000


def _preferred() -> Figure:
    """8 of 256 cards on two sockets, of which a random half is free, so that no answer is the same."""
    well = Health(healthy=True, reason="", since=0.0)
    devices = [
        Device(
            f"82540B87-1055-48C6-AAB1-{index:012X}",
            str(index),
            well,
            (f"numa{index // 128}", f"root{index // 32}", f"switch{index // 8}", str(index)),
        )
        for index in range(256)
    ]
    pool = Pool("furiosa.ai/npu", tuple(devices))
    ids = [device.id for device in devices]
    taken, floor = [], []
    for index in range(PREFERENCES):
        available = random.sample(ids, 128) if index % 2 else ids
        started = time.perf_counter()
        prefer(pool, available, [], 8)
        taken.append((time.perf_counter() - started) * 1000)
        started = time.perf_counter()
        sorted(available)
        floor.append((time.perf_counter() - started) * 1000)
    return Figure(
        "preferred_8_of_256_ms", percentile(taken, 99), 10, median(floor), "sorting the ids; the value is the 99th percentile", PREFERENCES
    )
