"""The accelerators of the node over time: found, read, gone, back again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from npu_agent.core.accelerator import Accelerator, Reading
from npu_agent.core.health import Health, first_health, observe


@dataclass(frozen=True, slots=True)
class Tracked:
    """An accelerator and what is known of it. `vanished_at` is when it was first missed, in the caller's clock, None while it is there."""

    accelerator: Accelerator
    health: Health
    vanished_at: float | None = None


Inventory = Mapping[str, Tracked]
"""By accelerator id."""


def fresh(inventory: Inventory, found: Iterable[Accelerator]) -> list[Accelerator]:
    """Return those of `found` that need a first reading before anybody is told of them: new ones, and those that were away."""
    known = {id for id, tracked in inventory.items() if tracked.vanished_at is None}
    return [accelerator for accelerator in found if accelerator.id not in known and not accelerator.unusable]


def after_scan(
    inventory: Inventory, found: Iterable[Accelerator], readings: Mapping[str, Reading], *, now: float, recover_after: int
) -> dict[str, Tracked]:
    """Return the inventory after a scan that found `found`; `readings` are those of the `fresh` ones.

    A card that is not there any more stays, as vanished and unhealthy, until `forget` lets it go. So does one that containers can no
    longer be given. One that comes back has to prove itself like one that failed.
    """
    present = {accelerator.id: accelerator for accelerator in found}
    after: dict[str, Tracked] = {}
    for id, tracked in inventory.items():
        seen = present.pop(id, None)
        if seen is None or (seen.unusable and not tracked.accelerator.unusable):
            after[id] = _vanished(tracked, seen, now=now)
        elif tracked.vanished_at is None:
            after[id] = replace(tracked, accelerator=seen)
        else:
            health = observe(tracked.health, readings.get(id, _UNREAD), now=now, recover_after=recover_after)
            if not health.healthy and health.good_readings:
                health = replace(health, reason="it came back and has to stay well for a while")
            after[id] = Tracked(seen, health)
    for id, accelerator in present.items():
        if accelerator.unusable:
            after[id] = Tracked(accelerator, Health(healthy=False, reason=accelerator.unusable, since=now))
        else:
            after[id] = Tracked(accelerator, first_health(readings.get(id, _UNREAD), now=now))
    return after


_UNREAD = Reading(healthy=False, reason="it has not been read yet")


def _vanished(tracked: Tracked, seen: Accelerator | None, *, now: float) -> Tracked:
    if tracked.vanished_at is not None:
        return tracked
    accelerator = tracked.accelerator
    name = accelerator.name or accelerator.pci_address or accelerator.id
    reason = seen.unusable if seen else f"{name} is not there any more; see the kernel's log, or drain the node and reseat the card"
    return Tracked(accelerator, Health(healthy=False, reason=reason, since=now), vanished_at=now)


def after_reading(inventory: Inventory, id: str, reading: Reading, *, now: float, recover_after: int) -> Inventory:
    """Return the inventory after a reading of the accelerator `id`; the same object if nothing changed."""
    tracked = inventory.get(id)
    if tracked is None or tracked.vanished_at is not None or tracked.accelerator.unusable:
        return inventory
    health = observe(tracked.health, reading, now=now, recover_after=recover_after)
    return inventory if health == tracked.health else {**inventory, id: replace(tracked, health=health)}


def forget(inventory: Inventory, held: frozenset[str] | None, *, now: float, linger_s: float) -> Inventory:
    """Return the inventory without the vanished accelerators that nobody needs to see any more; the same object if all stay.

    One that a pod holds stays: kubelet would show it healthy again if it left the list. `held` has the ids of those; it is None
    where kubelet cannot be asked, and then a vanished accelerator stays for `linger_s` seconds.
    """
    gone = [
        id
        for id, tracked in inventory.items()
        if tracked.vanished_at is not None and (now - tracked.vanished_at >= linger_s if held is None else id not in held)
    ]
    return {id: tracked for id, tracked in inventory.items() if id not in gone} if gone else inventory
