"""What happened between two node states, as facts: the log is written from them, and metrics and events will be."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from npu_agent.core.inventory import Inventory, Tracked
from npu_agent.core.pool import Device
from npu_agent.core.state import NodeState


class Event(StrEnum):
    """The names of facts. They are part of what the agent promises: programs read them in the log."""

    ACCELERATOR_FOUND = "accelerator_found"
    ACCELERATOR_UNUSABLE = "accelerator_unusable"
    ACCELERATOR_FAILED = "accelerator_failed"
    ACCELERATOR_HEALED = "accelerator_healed"
    ACCELERATOR_REASON_CHANGED = "accelerator_reason_changed"
    ACCELERATOR_VANISHED = "accelerator_vanished"
    ACCELERATOR_RETURNED = "accelerator_returned"
    ACCELERATOR_FORGOTTEN = "accelerator_forgotten"
    ACCELERATOR_NOTICE = "accelerator_notice"
    DEVICE_WITHHELD = "device_withheld"
    DEVICE_RELEASED = "device_released"
    RESOURCE_ADDED = "resource_added"
    RESOURCE_REMOVED = "resource_removed"
    PROBLEM_BEGAN = "problem_began"
    PROBLEM_CHANGED = "problem_changed"
    PROBLEM_ENDED = "problem_ended"
    PROBLEM_LASTS = "problem_lasts"
    SELECTOR_MATCHES_NOTHING = "selector_matches_nothing"
    CONFIGURATION_APPLIED = "configuration_applied"


class Level(StrEnum):
    """How much a fact matters to whoever reads the log."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Change:
    """One fact: what happened, how much it matters, the sentence for people, and its fields for programs."""

    event: Event
    level: Level
    text: str
    fields: Mapping[str, str | int | float] = field(default_factory=dict)


def changes(before: NodeState, after: NodeState) -> list[Change]:
    """Return what happened between two states, problems first, then resources, accelerators and devices, each in order of name."""
    return [
        *_configuration(before, after),
        *_problems(before, after),
        *_resources(before, after),
        *_accelerators(before.inventory, after.inventory, after),
        *_devices(before, after),
        *_unmatched(before, after),
    ]


def _configuration(before: NodeState, after: NodeState) -> Iterator[Change]:
    if before.revision != after.revision:
        text = f"configuration {after.revision} is in force"
        yield Change(Event.CONFIGURATION_APPLIED, Level.INFO, text, {"revision": after.revision})


def _unmatched(before: NodeState, after: NodeState) -> Iterator[Change]:
    for place, texts in sorted(after.plan.unmatched.items()):
        if before.plan.unmatched.get(place) != texts:
            text = f"{place} of the configuration selects by what matches no card of this host: {texts}"
            yield Change(Event.SELECTOR_MATCHES_NOTHING, Level.WARNING, text, {"place": place, "unmatched": texts})


def _problems(before: NodeState, after: NodeState) -> Iterator[Change]:
    for source in sorted(before.problems.keys() | after.problems.keys()):
        old, new = before.problems.get(source), after.problems.get(source)
        fields = {"source": source}
        if new is not None and old is None:
            yield Change(Event.PROBLEM_BEGAN, Level.ERROR, f"{source}: {new.text}", {**fields, "problem": new.text})
        elif new is not None and old is not None and new.text != old.text:
            yield Change(Event.PROBLEM_CHANGED, Level.ERROR, f"{source}: {new.text}", {**fields, "problem": new.text})
        elif new is None and old is not None:
            yield Change(Event.PROBLEM_ENDED, Level.INFO, f"{source}: the problem is over", {**fields, "problem": old.text})


def _resources(before: NodeState, after: NodeState) -> Iterator[Change]:
    for name in sorted(after.plan.pools.keys() - before.plan.pools.keys()):
        yield Change(Event.RESOURCE_ADDED, Level.INFO, f"{name} is offered", {"resource": name})
    for name in sorted(before.plan.pools.keys() - after.plan.pools.keys()):
        yield Change(Event.RESOURCE_REMOVED, Level.INFO, f"{name} is not offered any more", {"resource": name})


def _accelerators(before: Inventory, after: Inventory, state: NodeState) -> Iterator[Change]:
    for id in sorted(before.keys() | after.keys()):
        old, new = before.get(id), after.get(id)
        if old is new:
            continue
        if new is None:
            assert old is not None
            text = f"{_called(old)} is forgotten: it is gone, and nobody is known to hold it"
            yield Change(Event.ACCELERATOR_FORGOTTEN, Level.INFO, text, _fields(old, before_plan=True, state=state))
            continue
        fields = _fields(new, state=state)
        if old is None:
            yield from _found(new, fields)
        else:
            yield from _changed(old, new, fields)
        for notice in new.accelerator.notices:
            if old is None or notice not in old.accelerator.notices:
                yield Change(Event.ACCELERATOR_NOTICE, Level.WARNING, f"{_called(new)}: {notice}", {**fields, "notice": notice})


def _found(new: Tracked, fields: dict[str, str | int | float]) -> Iterator[Change]:
    if new.accelerator.unusable:  # often on purpose, so it is no warning
        yield Change(Event.ACCELERATOR_UNUSABLE, Level.INFO, f"{_called(new)} cannot be used: {new.accelerator.unusable}", fields)
        return
    yield Change(Event.ACCELERATOR_FOUND, Level.INFO, f"{_called(new)} is found", fields)
    if not new.health.healthy and not new.unread:
        yield Change(Event.ACCELERATOR_FAILED, Level.WARNING, f"{_called(new)} is unhealthy: {new.health.reason}", fields)


def _changed(old: Tracked, new: Tracked, fields: dict[str, str | int | float]) -> Iterator[Change]:
    called = _called(new)
    if new.vanished_at is not None and old.vanished_at is None:
        yield Change(Event.ACCELERATOR_VANISHED, Level.WARNING, f"{called} has vanished: {new.health.reason}", fields)
    elif new.vanished_at is None and old.vanished_at is not None:
        yield Change(Event.ACCELERATOR_RETURNED, Level.INFO, f"{called} has come back", fields)
    elif new.accelerator.unusable:
        if new.accelerator.unusable != old.accelerator.unusable:
            yield Change(Event.ACCELERATOR_UNUSABLE, Level.INFO, f"{called} cannot be used: {new.accelerator.unusable}", fields)
    elif old.accelerator.unusable:
        yield from _found(new, fields)
    elif new.health.healthy and not old.health.healthy:
        if not old.unread:
            yield Change(Event.ACCELERATOR_HEALED, Level.INFO, f"{called} is healthy again; it was: {old.health.reason}", fields)
    elif not new.health.healthy and (old.health.healthy or old.unread) and not new.unread:
        yield Change(Event.ACCELERATOR_FAILED, Level.WARNING, f"{called} is unhealthy: {new.health.reason}", fields)
    elif not new.health.healthy and new.health.reason != old.health.reason:
        yield Change(Event.ACCELERATOR_REASON_CHANGED, Level.INFO, f"{called} is still unhealthy: {new.health.reason}", fields)


def _devices(before: NodeState, after: NodeState) -> Iterator[Change]:
    for name in sorted(before.plan.pools.keys() & after.plan.pools.keys()):
        old_pool, pool = before.plan.pools[name], after.plan.pools[name]
        if old_pool is not pool:
            old = {device.id: device for device in old_pool.devices}
            for device in pool.devices:
                yield from _withholding(name, old.get(device.id), device)
    for name in sorted(after.plan.pools.keys() - before.plan.pools.keys()):
        for device in after.plan.pools[name].devices:
            yield from _withholding(name, None, device)


def _withholding(resource: str, old: Device | None, new: Device) -> Iterator[Change]:
    was = old.withheld if old is not None else ""
    fields: dict[str, str | int | float] = {"resource": resource, "device": new.id, "accelerator": new.accelerator_id}
    if new.withheld and new.withheld != was:
        text = f"{new.id} of {resource} is withheld: {new.withheld}"
        yield Change(Event.DEVICE_WITHHELD, Level.WARNING, text, {**fields, "reason": new.withheld})
    elif was and not new.withheld:
        yield Change(Event.DEVICE_RELEASED, Level.INFO, f"{new.id} of {resource} is offered again: nobody holds it", fields)


def _called(tracked: Tracked) -> str:
    accelerator = tracked.accelerator
    about = " ".join(filter(None, (accelerator.family, accelerator.name or accelerator.pci_address)))
    return f"{accelerator.id} ({about})" if about else accelerator.id


def _fields(tracked: Tracked, *, state: NodeState, before_plan: bool = False) -> dict[str, str | int | float]:
    accelerator = tracked.accelerator
    fields: dict[str, str | int | float] = {
        "accelerator": accelerator.id,
        "backend": accelerator.backend,
        "family": accelerator.family,
        "name": accelerator.name,
        "pci_address": accelerator.pci_address,
        "healthy": tracked.health.healthy,
        "reason": tracked.health.reason,
    }
    left_out = None if before_plan else state.plan.left_out.get(accelerator.id)
    if left_out is not None:
        fields["left_out"] = left_out.omission.value
    return fields
