"""What many cards cost: the list of 256, a change of one of them, and a first list while one hangs."""

import asyncio
import time
from collections.abc import AsyncIterator

from benchmarks.agent import ENVIRONMENT, SYSFS, Site, running_agent, site, stop
from benchmarks.figure import Figure, of_rounds
from benchmarks.kubelet import running_kubelet
from npu_agent.core.accelerator import Reading
from npu_agent.core.inventory import Inventory, after_reading, after_scan
from npu_agent.core.moment import Moment
from npu_agent.core.planning import Wanted
from npu_agent.core.selection import ResourceSpec, Selector
from npu_agent.node.writer import StateWriter
from tests.program import PROGRAM

CARDS = 256
LISTS = 15
UPDATES = 50
STARTS = 12

HANGING_ADDS_S = 0.3
"""What a card that hangs may add to the usual start."""


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme."""
    async with site(CARDS) as where, running_kubelet(where.device_plugins) as kubelet:
        async with running_agent(where, SYSFS):
            await kubelet.list_with(healthy=CARDS)
            lists, versions = [], []
            for _ in range(LISTS):
                lists.append(await _command_s("list", "--runtime-dir", str(where.root / "run")))
                versions.append(await _command_s("version"))
        yield of_rounds("list_256_cards_s", lists, 0.35, versions, "npu-agent version")
        yield await _updates(where)
    async with site(4) as where, running_kubelet(where.device_plugins) as kubelet:
        usual, hanging = [], []
        for _ in range(STARTS):
            usual.append(await _start_s(where, kubelet, healthy=4))
            where.tree.hang(where.cards[0], "device_state")
            hanging.append(await _start_s(where, kubelet, healthy=3))
            where.tree.release(where.cards[0], "device_state", "0\n")
        figure = of_rounds("first_list_with_hanging_card_s", hanging, 0.0, usual, "the same start without a card that hangs")
        yield of_rounds(figure.name, hanging, figure.floor + HANGING_ADDS_S, usual, figure.floor_is)


async def _command_s(*argv: str) -> float:
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        PROGRAM, *argv, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, env=ENVIRONMENT
    )
    assert await process.wait() == 0
    return time.monotonic() - started


async def _start_s(where: Site, kubelet: object, *, healthy: int) -> float:
    """Return how long it takes from the start of an agent to its first list, which has so many healthy cards."""
    started = time.monotonic()
    process = await where.start({"probe_timeout_s": 6.0})
    await kubelet.registration()  # type: ignore[attr-defined]
    await kubelet.list_with(healthy=healthy)  # type: ignore[attr-defined]
    taken = time.monotonic() - started
    await stop(process)
    return taken


async def _updates(where: Site) -> Figure:
    """Return how long it takes from a reading that fails one of the cards to the node state that says so."""
    from npu_agent.backends.sysfs.backend import SysfsBackend

    async with SysfsBackend({}, host_root=where.tree.root) as backend:
        found = await backend.scan()
    writer = StateWriter(Wanted([ResourceSpec("furiosa.ai/npu", Selector(families=("rngd",)))]))
    now = Moment(0.0, 0.0)
    inventory: Inventory = after_scan({}, found, now=now)
    for id in inventory:
        inventory = after_reading(inventory, id, Reading(True), now=now, recover_after=1)
    writer.put_inventory(inventory)
    writer.publish()
    updates = []
    for number in range(UPDATES):
        id = found[number % len(found)].id
        started = time.perf_counter()
        writer.put_inventory(after_reading(writer.inventory, id, Reading(False, f"failure {number}"), now=now, recover_after=1))
        writer.publish()
        updates.append((time.perf_counter() - started) * 1000)
    return of_rounds("state_update_256_cards_ms", updates, 5.0, [0.0], "none")
