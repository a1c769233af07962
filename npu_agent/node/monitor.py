"""The agent's view of the node: scans for accelerators, probes their health, and publishes pools when something changed."""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import anyio

from npu_agent.backends.base import Backend
from npu_agent.config.configuration import Configuration
from npu_agent.core import inventory as tracking
from npu_agent.core.accelerator import Accelerator, Reading
from npu_agent.core.inventory import Inventory
from npu_agent.core.planning import plan
from npu_agent.core.pool import Pool
from npu_agent.flow.current import Current

PATIENCE_S = 1.0
"""Seconds that a backend gets beyond its own timeout before its probe counts as hanging."""

HELD_AGAIN_S = 1.0
"""Seconds between two questions to kubelet while a vanished card is listed only because a pod may hold it."""

log = logging.getLogger(__name__)

Held = Callable[[], Awaitable[frozenset[tuple[str, str]] | None]]
"""Asks which devices are held, as resource name and device id; None where kubelet cannot be asked."""


class Monitor:
    """Follows the accelerators of all backends and keeps one pool for each resource of the configuration."""

    def __init__(self, backends: Mapping[str, Backend], configuration: Configuration, held: Held) -> None:
        self.inventory: Current[Inventory] = Current({})
        self.pools = {spec.name: Current(Pool(spec.name, policy=spec.policy)) for spec in configuration.resources}
        self.problems: Current[Mapping[str, str]] = Current({})
        """What keeps a backend from seeing its cards, by the backend's name."""
        self._backends = backends
        self._configuration = configuration
        self._held = held
        self._probing: set[str] = set()
        self._scan_wanted = {name: anyio.Event() for name in backends}
        self._vanished = anyio.Event()

    async def look(self) -> None:
        """Scan and probe everything once, so that the first list that kubelet gets is complete."""
        async with anyio.create_task_group() as tasks:
            for name in self._backends:
                tasks.start_soon(self._scan, name)

    async def run(self) -> None:
        """Scan and probe for as long as it runs."""
        async with anyio.create_task_group() as tasks:
            for name in self._backends:
                tasks.start_soon(self._scan_again, name)
                tasks.start_soon(self._watch, name)
            tasks.start_soon(self._probe_again)
            tasks.start_soon(self._forget_vanished)

    async def _scan_again(self, name: str) -> None:
        while True:
            with anyio.move_on_after(self._configuration.scan_interval_s):
                await self._scan_wanted[name].wait()
            self._scan_wanted[name] = anyio.Event()
            await self._scan(name)

    async def _watch(self, name: str) -> None:
        async for _ in self._backends[name].watch():
            self._scan_wanted[name].set()

    async def _scan(self, name: str) -> None:
        backend = self._backends[name]
        try:
            found = await backend.scan()
        except OSError as error:
            self._report(name, f"the backend {name} cannot look for accelerators: {error}; what it found before stays")
            return
        except Exception:
            # A backend of somebody else's must not take the others down with it.
            log.exception("the backend %s failed while looking for accelerators", name)
            self._report(
                name, f"the backend {name} failed while looking for accelerators; its log has the cause, what it found before stays"
            )
            return
        self._report(name, "")
        mine = {id: tracked for id, tracked in self.inventory.value.items() if tracked.accelerator.backend == name}
        readings: dict[str, Reading] = {}

        async def read(accelerator: Accelerator) -> None:
            readings[accelerator.id] = await self._read(accelerator)

        async with anyio.create_task_group() as tasks:
            for accelerator in tracking.fresh(mine, found):
                tasks.start_soon(read, accelerator)
        # Readings may have come in meanwhile: take the newest of what is known.
        current = self.inventory.value
        mine = {id: tracked for id, tracked in current.items() if tracked.accelerator.backend == name}
        others = {id: tracked for id, tracked in current.items() if id not in mine}
        after = tracking.after_scan(
            mine, _unique(found, others), readings, now=time.time(), recover_after=self._configuration.recover_after
        )
        self._publish({**others, **after})
        if any(tracked.vanished_at is not None and (id not in mine or mine[id].vanished_at is None) for id, tracked in after.items()):
            self._vanished.set()

    async def _probe_again(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.sleep(self._configuration.probe_interval_s)
                for id, tracked in self.inventory.value.items():
                    # A card that has not answered yet is not asked again, and delays no other.
                    if tracked.vanished_at is None and not tracked.accelerator.unusable and id not in self._probing:
                        tasks.start_soon(self._probe, tracked.accelerator)

    async def _probe(self, accelerator: Accelerator) -> None:
        reading = await self._read(accelerator)
        before = self.inventory.value
        after = tracking.after_reading(before, accelerator.id, reading, now=time.time(), recover_after=self._configuration.recover_after)
        if after is before:
            return
        was, now = before[accelerator.id].health, after[accelerator.id].health
        if was.healthy != now.healthy:
            state = "healthy again" if now.healthy else f"unhealthy: {now.reason}"
            log.warning("%s (%s %s) is %s", accelerator.id, accelerator.family, accelerator.name or accelerator.pci_address, state)
            # A card that fails may be about to leave; kubelet should not wait for the next scan to hear of it.
            self._scan_wanted[accelerator.backend].set()
        self._publish(after)

    async def _read(self, accelerator: Accelerator) -> Reading:
        timeout_s = self._configuration.probe_timeout_s + PATIENCE_S
        self._probing.add(accelerator.id)
        try:
            with anyio.fail_after(timeout_s):
                return await self._backends[accelerator.backend].probe(accelerator)
        except TimeoutError:
            return Reading(healthy=False, reason=f"its backend did not answer within {timeout_s:g} s")
        except Exception as error:
            log.exception("the backend %s failed while probing %s", accelerator.backend, accelerator.id)
            return Reading(healthy=False, reason=f"its backend failed: {type(error).__name__}: {error}")
        finally:
            self._probing.discard(accelerator.id)

    async def _forget_vanished(self) -> None:
        while True:
            if not any(tracked.vanished_at is not None for tracked in self.inventory.value.values()):
                await self._vanished.wait()
            self._vanished = anyio.Event()
            await self._forget()
            with anyio.move_on_after(HELD_AGAIN_S):
                await self._vanished.wait()

    async def _forget(self) -> None:
        held = await self._held()
        ids: frozenset[str] | None = None
        if held is not None:
            owners = {
                (pool.value.resource, device.id): device.accelerator_id for pool in self.pools.values() for device in pool.value.devices
            }
            ids = frozenset(owners[device] for device in held if device in owners)
        before = self.inventory.value
        after = tracking.forget(before, ids, now=time.time(), linger_s=self._configuration.vanished_linger_s)
        if after is before:
            return
        for id in before.keys() - after.keys():
            log.info("%s is gone and nobody holds it: kubelet is not told of it any more", id)
        self._publish(after)
        # What is seen in the place of a card that is forgotten (one without a driver) is found now.
        for wanted in self._scan_wanted.values():
            wanted.set()

    def _publish(self, inventory: Inventory) -> None:
        """Make the pools of `inventory` and publish what differs."""
        self.inventory.set(inventory)
        pools = plan(
            [tracked.accelerator for tracked in inventory.values()],
            {id: tracked.health for id, tracked in inventory.items()},
            self._configuration.resources,
            excluded=self._configuration.exclude,
            parts=lambda accelerator, kind: self._backends[accelerator.backend].partition_names(accelerator, kind),
            previous={name: pool.value for name, pool in self.pools.items()},
        )
        for name, pool in pools.items():
            self.pools[name].set(pool)

    def _report(self, backend: str, problem: str) -> None:
        before = self.problems.value
        if before.get(backend, "") == problem:
            return
        if problem:
            log.error("%s", problem)
        else:
            log.info("the backend %s sees its accelerators again", backend)
        self.problems.set({**{name: text for name, text in before.items() if name != backend}, **({backend: problem} if problem else {})})


def _unique(found: Sequence[Accelerator], others: Inventory) -> list[Accelerator]:
    """Return `found` without cards whose id another backend has: kubelet knows a device by its id alone, over all resources."""
    for accelerator in found:
        if accelerator.id in others:
            other = others[accelerator.id].accelerator.backend
            log.error("the backends %s and %s both found %s; it is left to %s", accelerator.backend, other, accelerator.id, other)
    return [accelerator for accelerator in found if accelerator.id not in others]
