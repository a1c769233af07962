"""The accelerators of the node over time: found, read, gone, back again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from npu_agent.core.accelerator import Accelerator, Reading
from npu_agent.core.health import Health, first_health, observe
from npu_agent.core.moment import Moment

UNREAD = "it has not been read yet"
CAME_BACK = "it came back and has to stay well for a while"

MOST_PAST = 10
"""Changes of health that are remembered of each card."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """An accelerator and what is known of it.

    `unread` says that its health is a guess, since no reading has come back yet. `vanished_at` is when it was first missed, by the
    monotonic clock, None while it is there. `past` are the states of its health before this one, the newest first. `may_be` has the
    ids of accelerators that are not there now and that this one may be, under another name.
    """

    accelerator: Accelerator
    health: Health
    unread: bool = False
    vanished_at: float | None = None
    past: tuple[Health, ...] = ()
    may_be: frozenset[str] = frozenset()

    @property
    def wants_probe(self) -> bool:
        """Whether its health can be read: it is there, and containers can be given it."""
        return self.vanished_at is None and not self.accelerator.unusable


Inventory = Mapping[str, Tracked]
"""By accelerator id."""


def after_scan(
    inventory: Inventory, found: Iterable[Accelerator], *, now: Moment, doubts: Mapping[str, frozenset[str]] | None = None
) -> dict[str, Tracked]:
    """Return the inventory after a scan that found `found`; `doubts` has for new ones what they may be (see `naming`).

    A new card is unhealthy until it has been read. One that is not there any more stays, as vanished and unhealthy, until `forget`
    lets it go. So does one that containers can no longer be given. One that comes back has to prove itself like one that failed. One
    that was never usable goes at once: nobody was told of it, and it may be there still under the name that its driver gave it.
    """
    present = {accelerator.id: accelerator for accelerator in found}
    doubts = doubts or {}
    after: dict[str, Tracked] = {}
    for id, tracked in inventory.items():
        seen = present.pop(id, None)
        if seen is None and tracked.accelerator.unusable and tracked.vanished_at is None:
            continue
        if seen is None or (seen.unusable and not tracked.accelerator.unusable):
            after[id] = _vanished(tracked, seen, now)
        elif tracked.vanished_at is not None:
            after[id] = _with_health(replace(tracked, accelerator=seen, vanished_at=None), Health(False, CAME_BACK, tracked.health.since))
        elif tracked.accelerator.unusable:
            after[id] = _new(seen, now) if seen.unusable != tracked.accelerator.unusable else _same(tracked, seen)
        else:
            after[id] = _same(tracked, seen)
    for id, accelerator in present.items():
        after[id] = replace(_new(accelerator, now), may_be=doubts.get(id, frozenset()))
    return after


def after_reading(inventory: Inventory, id: str, reading: Reading, *, now: Moment, recover_after: int) -> Inventory:
    """Return the inventory after a reading of the accelerator `id`; the same object if nothing changed."""
    tracked = inventory.get(id)
    if tracked is None or not tracked.wants_probe:
        return inventory
    if tracked.unread:
        health = first_health(reading, now=now.date)
        return {**inventory, id: replace(tracked, health=health, unread=False)}
    health = observe(tracked.health, reading, now=now.date, recover_after=recover_after)
    return inventory if health == tracked.health else {**inventory, id: _with_health(tracked, health)}


def forget(inventory: Inventory, held: frozenset[str] | None, *, now: Moment, linger_s: float) -> Inventory:
    """Return the inventory without the vanished accelerators that nobody needs to see any more; the same object if all stay.

    One that a pod holds stays: kubelet would show it healthy again if it left the list. `held` has the ids of those; it is None
    where kubelet cannot be asked, and then a vanished accelerator stays for `linger_s` seconds.
    """
    gone = {
        id
        for id, tracked in inventory.items()
        if tracked.vanished_at is not None and (now.at - tracked.vanished_at >= linger_s if held is None else id not in held)
    }
    return {id: tracked for id, tracked in inventory.items() if id not in gone} if gone else inventory


def _new(accelerator: Accelerator, now: Moment) -> Tracked:
    if accelerator.unusable:
        return Tracked(accelerator, Health(False, accelerator.unusable, now.date))
    return Tracked(accelerator, Health(False, UNREAD, now.date), unread=True)


def _same(tracked: Tracked, seen: Accelerator) -> Tracked:
    return tracked if seen is tracked.accelerator or seen == tracked.accelerator else replace(tracked, accelerator=seen)


def _vanished(tracked: Tracked, seen: Accelerator | None, now: Moment) -> Tracked:
    if tracked.vanished_at is not None:
        return tracked
    accelerator = tracked.accelerator
    name = accelerator.name or accelerator.pci_address or accelerator.id
    reason = seen.unusable if seen else f"{name} is not there any more; see the kernel's log, or drain the node and reseat the card"
    return replace(_with_health(tracked, Health(False, reason, now.date)), unread=False, vanished_at=now.at)


def _with_health(tracked: Tracked, health: Health) -> Tracked:
    """Return `tracked` with `health`, and what was known before remembered if it differs in more than how far a recovery has come."""
    old = tracked.health
    if (old.healthy, old.reason) == (health.healthy, health.reason):
        return replace(tracked, health=health)
    return replace(tracked, health=health, past=(replace(old, good_readings=0), *tracked.past)[:MOST_PAST])
