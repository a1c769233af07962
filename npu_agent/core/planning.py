"""From the inventory and the configuration to pools: which part of which card becomes which device of which resource, and what does not."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from npu_agent.core.accelerator import Accelerator, Part
from npu_agent.core.allocations import Conflicts
from npu_agent.core.health import Health
from npu_agent.core.identity import as_device_id, hashed
from npu_agent.core.inventory import Inventory, Tracked
from npu_agent.core.pool import Device, Pool
from npu_agent.core.selection import ResourceSpec, Selector, unmatched


class Omission(StrEnum):
    """Why no device is made of an accelerator."""

    UNUSABLE = "unusable"
    EXCLUDED = "excluded"
    UNSELECTED = "unselected"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An accelerator of which no device is made, and why in a sentence."""

    omission: Omission
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The pools by resource name, and by accelerator id the cards that are left out.

    `unmatched` has by place in the configuration ("exclude", "furiosa.ai/npu") what of a selector matches nothing on this host.
    """

    pools: Mapping[str, Pool] = field(default_factory=dict)
    left_out: Mapping[str, LeftOut] = field(default_factory=dict)
    unmatched: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration asks for: the resources in order, and the accelerators that none of them gets."""

    resources: Sequence[ResourceSpec] = ()
    excluded: Selector | None = None


def plan(
    inventory: Inventory,
    wanted: Wanted,
    *,
    conflicts: Conflicts | None = None,
    preparing: Container[str] = (),
    previous: Plan | None = None,
) -> Plan:
    """Return the pool of each resource, one without a card being empty, and the cards that no resource has.

    The first resource that selects a card takes it, so no card is ever part of two. No two devices of the pools have one id: kubelet
    knows devices by their ids alone when it tells pods of health (docs/kubelet.md). `conflicts` says which devices somebody may still
    hold under another name: those are listed as unhealthy. `preparing` has the names of the backends that are asked before a
    container starts. A pool that equals the `previous` one of its name is that one, so that its generation tells whether anything
    changed.
    """
    left_out: dict[str, LeftOut] = {}
    chosen: dict[str, list[Tracked]] = {spec.name: [] for spec in wanted.resources}
    for id, tracked in sorted(inventory.items()):
        if reason := _left_out(tracked.accelerator, wanted):
            left_out[id] = reason
            continue
        spec = next((spec for spec in wanted.resources if spec.selector.matches(tracked.accelerator)), None)
        if spec is None:
            left_out[id] = LeftOut(Omission.UNSELECTED, "no resource of the configuration selects it")
        elif not any(part.kind == spec.partition for part in tracked.accelerator.parts):
            text = f"{spec.name} is made of parts of the kind {spec.partition!r}, and {tracked.accelerator.family} has none"
            left_out[id] = LeftOut(Omission.UNSELECTED, text if spec.partition else "it cannot be handed out whole")
        else:
            chosen[spec.name].append(tracked)
    taken = set(inventory)
    old_pools = previous.pools if previous else {}
    pools: dict[str, Pool] = {}
    for spec in wanted.resources:
        old = old_pools.get(spec.name)
        known = {device.id: device for device in old.devices} if old else {}
        devices = [_kept(device, known) for tracked in chosen[spec.name] for device in _devices(tracked, spec, taken)]
        if conflicts:
            devices = [_withheld(device, spec.name, inventory, conflicts) for device in devices]
        devices.sort(key=lambda device: device.id)
        pre_start = any(tracked.accelerator.backend in preparing for tracked in chosen[spec.name])
        pool = Pool(spec.name, tuple(devices), spec.policy, old.generation if old else 0, pre_start)
        if old is not None:
            pool = old if pool == old else replace(pool, generation=old.generation + 1)
        pools[spec.name] = pool
    return Plan(pools, left_out, _unmatched(inventory, wanted, previous))


def _unmatched(inventory: Inventory, wanted: Wanted, previous: Plan | None) -> Mapping[str, str]:
    """Return what of the selectors matches none of the cards that have been seen, a text for each selector."""
    cards = [tracked.accelerator for tracked in inventory.values()]
    selectors = {spec.name: spec.selector for spec in wanted.resources}
    if wanted.excluded is not None:
        selectors["exclude"] = wanted.excluded
    found = {place: "; ".join(texts) for place, selector in selectors.items() if (texts := unmatched(selector, cards))}
    return previous.unmatched if previous is not None and previous.unmatched == found else found


def _left_out(accelerator: Accelerator, wanted: Wanted) -> LeftOut | None:
    if wanted.excluded is not None and wanted.excluded.matches(accelerator):
        return LeftOut(Omission.EXCLUDED, "the configuration leaves it out")
    if accelerator.unusable:
        return LeftOut(Omission.UNUSABLE, accelerator.unusable)
    return None


def _devices(tracked: Tracked, spec: ResourceSpec, taken: set[str]) -> Iterable[Device]:
    accelerator = tracked.accelerator
    # How far a recovery has come is nothing that changes the device.
    health = replace(tracked.health, good_readings=0) if tracked.health.good_readings else tracked.health
    for part in accelerator.parts:
        if part.kind != spec.partition:
            continue
        for replica in range(spec.replicas):
            suffix = (f"_{part.name}" if part.name else "") + (f"_r{replica}" if spec.replicas > 1 else "")
            yield Device(
                id=_part_id(accelerator.id, suffix, taken) if suffix else accelerator.id,
                accelerator_id=accelerator.id,
                health=_health_of(part, health),
                location=(*accelerator.location, *part.location),
                numa_node=accelerator.numa_node,
                part=part,
                replica=replica if spec.replicas > 1 else None,
            )


def _health_of(part: Part, health: Health) -> Health:
    return Health(False, part.unusable, health.since) if part.unusable and health.healthy else health


def _kept(device: Device, known: Mapping[str, Device]) -> Device:
    """Return the device that was there before if it is the same, so that whoever compares pools is quick."""
    old = known.get(device.id)
    return old if old == device and old is not None else device


def _withheld(device: Device, resource: str, inventory: Inventory, conflicts: Conflicts) -> Device:
    tracked = inventory[device.accelerator_id]
    reason = conflicts.of(resource, device, tracked.accelerator, tracked.may_be, inventory)
    if not reason:
        return device
    health = Health(False, f"withheld: {reason}", device.health.since) if device.health.healthy else device.health
    return replace(device, health=health, withheld=reason)


def _part_id(accelerator_id: str, suffix: str, taken: set[str]) -> str:
    """Return an id that is not `taken`, and take it: a card may be called as a part of another one is."""
    id = as_device_id(accelerator_id + suffix)
    if id in taken:
        id = hashed(f"{accelerator_id} {suffix}")
    taken.add(id)
    return id
