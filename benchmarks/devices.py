"""How soon kubelet hears of a card that fails, and how quick its calls are answered."""

import asyncio
import random
import time
from collections.abc import AsyncIterator

from benchmarks.agent import SYSFS, Site, running_agent, site
from benchmarks.figure import Figure, of_rounds
from benchmarks.floors import bare_server
from benchmarks.kubelet import Kubelet, running_kubelet
from benchmarks.wire import Caller
from npu_agent.api.v1beta1 import AllocateRequest, ContainerAllocateRequest
from npu_agent.core.health import Health
from npu_agent.core.pool import Device, Pool
from npu_agent.core.preferred import prefer

FAILURES = 24
CALLS = 500
LISTS = 100
PREFERENCES = 200

PROBE_INTERVAL_S = 1.0
"""The default, which the figure is for."""


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme."""
    async with site() as where, running_kubelet(where.device_plugins) as kubelet, running_agent(where, SYSFS):
        device = (await kubelet.list_with(healthy=len(where.cards))).message.devices[0].id
        request = bytes(AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=[device])]))
        async with bare_server(where.root / "bare.sock") as bare, Caller(kubelet.endpoint) as plugin:
            calls = [await plugin.call_ms("Allocate", request) for _ in range(CALLS)]
            empty_calls = [await bare.call_ms("GetDevicePluginOptions") for _ in range(CALLS)]
        failures = await _failures_s(where, kubelet)
    yield of_rounds("allocate_p50_ms", calls, 1.5, empty_calls, "an empty call of the same library")
    yield of_rounds("health_to_kubelet_s", failures, 0.6, [PROBE_INTERVAL_S / 2], "half a probe interval")
    yield Figure("health_to_kubelet_worst_s", max(failures), 1.1, PROBE_INTERVAL_S, "a probe interval", FAILURES)
    yield await _first_list(1024)
    yield _preferred()


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
        async with bare_server(where.root / "bare.sock", count) as bare, Caller(kubelet.endpoint) as plugin:
            taken = [await plugin.first_message_ms("ListAndWatch") for _ in range(LISTS)]
            floor = [await bare.first_message_ms("ListAndWatch") for _ in range(LISTS)]
    return of_rounds(f"first_list_{count}_ms", taken, 50, floor, "a server that only has the message, and encodes it")


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
    return of_rounds("preferred_8_of_256_ms", taken, 10, floor, "sorting the ids")
