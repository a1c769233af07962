"""From accelerators and configuration to pools: which card becomes which devices of which resource."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from npu_agent.core.accelerator import Accelerator
from npu_agent.core.health import Health
from npu_agent.core.identity import as_device_id, hashed
from npu_agent.core.pool import Device, Pool
from npu_agent.core.selection import ResourceSpec, Selector

Parts = Callable[[Accelerator, str], Sequence[str]]
"""The names of the parts of a kind that an accelerator divides into; a backend's `partition_names`."""


def assign(accelerators: Iterable[Accelerator], specs: Sequence[ResourceSpec], excluded: Selector | None) -> dict[str, str]:
    """Return the resource name for each accelerator id that gets one.

    The first spec that selects a card takes it, so no card is ever part of two resources. Excluded and unusable cards get none.
    """
    resources: dict[str, str] = {}
    for accelerator in accelerators:
        if accelerator.unusable or (excluded is not None and excluded.matches(accelerator)):
            continue
        for spec in specs:
            if spec.selector.matches(accelerator):
                resources[accelerator.id] = spec.name
                break
    return resources


def plan(
    accelerators: Sequence[Accelerator],
    health: Mapping[str, Health],
    specs: Sequence[ResourceSpec],
    *,
    excluded: Selector | None = None,
    parts: Parts = lambda accelerator, kind: (),
    previous: Mapping[str, Pool] | None = None,
) -> dict[str, Pool]:
    """Return the pool of each spec's resource, by resource name; a resource without a card has an empty pool.

    `health` has an entry for each accelerator. No two devices of the pools have one id: kubelet knows devices by their ids alone when
    it tells pods of health (docs/kubelet.md). A pool that equals the previous one of its name is that one, so that its generation
    tells whether anything changed.
    """
    resources = assign(accelerators, specs, excluded)
    taken = {accelerator.id for accelerator in accelerators}
    pools: dict[str, Pool] = {}
    for spec in specs:
        devices = [
            device
            for accelerator in sorted(accelerators, key=lambda accelerator: accelerator.id)
            if resources.get(accelerator.id) == spec.name
            for device in _devices(accelerator, health[accelerator.id], spec, parts, taken)
        ]
        devices.sort(key=lambda device: device.id)
        old = (previous or {}).get(spec.name)
        pool = Pool(spec.name, tuple(devices), spec.policy, old.generation if old else 0)
        if old is not None and pool != old:
            pool = Pool(spec.name, tuple(devices), spec.policy, old.generation + 1)
        pools[spec.name] = pool
    return pools


def _devices(accelerator: Accelerator, health: Health, spec: ResourceSpec, parts: Parts, taken: set[str]) -> Iterable[Device]:
    names = parts(accelerator, spec.partition) if spec.partition else ("",)
    for part in names:
        for replica in range(spec.replicas):
            suffix = (f"_{part}" if part else "") + (f"_r{replica}" if spec.replicas > 1 else "")
            yield Device(
                id=_part_id(accelerator.id, suffix, taken) if suffix else accelerator.id,
                accelerator_id=accelerator.id,
                # How far a recovery has come is nothing that changes the device.
                health=replace(health, good_readings=0),
                location=accelerator.location,
                numa_node=accelerator.numa_node,
                partition=part,
                replica=replica if spec.replicas > 1 else None,
            )


def _part_id(accelerator_id: str, suffix: str, taken: set[str]) -> str:
    """Return an id that is not `taken`, and take it: a card may be called as a part of another one is."""
    id = as_device_id(accelerator_id + suffix)
    if id in taken:
        id = hashed(f"{accelerator_id} {suffix}")
    taken.add(id)
    return id
