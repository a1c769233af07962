"""What happened between two node states."""

from collections.abc import Mapping
from dataclasses import replace

from npu_agent.core.accelerator import Accelerator
from npu_agent.core.changes import Change, Event, Level, changes
from npu_agent.core.health import Health
from npu_agent.core.inventory import Tracked
from npu_agent.core.planning import LeftOut, Omission, Plan
from npu_agent.core.pool import Device, Pool
from npu_agent.core.state import NodeState, Problem

CARD = Accelerator("R", "sysfs", "rngd", name="npu0", pci_address="0000:27:00.0")
WELL, BAD = Health(True, "", 1.0), Health(False, "too hot", 2.0)
NPU = "furiosa.ai/npu"


def state(tracked: Mapping[str, Tracked] | Tracked | None = None, **fields: object) -> NodeState:
    inventory = {tracked.accelerator.id: tracked} if isinstance(tracked, Tracked) else (tracked or {})
    return replace(NodeState(inventory=inventory), **fields)  # type: ignore[arg-type]


def events(before: NodeState, after: NodeState) -> list[tuple[Event, Level, str]]:
    return [(change.event, change.level, change.text) for change in changes(before, after)]


def one(before: NodeState, after: NodeState) -> Change:
    (change,) = changes(before, after)
    return change


def fields_of(tracked: Tracked) -> dict[str, str | int | float]:
    health = tracked.health
    card = {"accelerator": "R", "backend": "sysfs", "family": "rngd", "name": "npu0", "pci_address": "0000:27:00.0"}
    return {**card, "healthy": health.healthy, "reason": health.reason}


def test_nothing_happened_between_equal_states() -> None:
    there = state(Tracked(CARD, WELL), problems={"a": Problem("a", "b", 1.0)})
    assert changes(there, there) == []
    assert changes(there, replace(there, inventory={"R": Tracked(CARD, WELL)})) == []


def test_a_card_is_found_and_its_fields_say_which() -> None:
    found = one(state(), state(Tracked(CARD, WELL)))
    assert (found.event, found.level, found.text) == (Event.ACCELERATOR_FOUND, Level.INFO, "R (rngd npu0) is found")
    assert found.fields["accelerator"] == "R"
    assert found.fields["pci_address"] == "0000:27:00.0"


def test_a_card_that_fails_and_heals_is_told_with_its_reason() -> None:
    assert events(state(Tracked(CARD, WELL)), state(Tracked(CARD, BAD))) == [
        (Event.ACCELERATOR_FAILED, Level.WARNING, "R (rngd npu0) is unhealthy: too hot")
    ]
    assert events(state(Tracked(CARD, BAD)), state(Tracked(CARD, WELL))) == [
        (Event.ACCELERATOR_HEALED, Level.INFO, "R (rngd npu0) is healthy again; it was: too hot")
    ]
    assert one(state(Tracked(CARD, BAD)), state(Tracked(CARD, replace(BAD, reason="dead")))).event is Event.ACCELERATOR_REASON_CHANGED


def test_every_change_of_a_card_says_what_for_people_and_which_card_for_programs() -> None:
    """What each change is, with every field that a program may read."""
    away = Tracked(CARD, Health(False, "gone", 3.0), vanished_at=3.0)
    unbound = Tracked(replace(CARD, unusable="no driver is bound"), BAD)
    vfio = Tracked(replace(CARD, unusable="bound to vfio-pci"), BAD)
    dead, well, bad = Tracked(CARD, replace(BAD, reason="dead")), Tracked(CARD, WELL), Tracked(CARD, BAD)
    told = [
        (None, well, Event.ACCELERATOR_FOUND, Level.INFO, "is found", well),
        (well, bad, Event.ACCELERATOR_FAILED, Level.WARNING, "is unhealthy: too hot", bad),
        (bad, dead, Event.ACCELERATOR_REASON_CHANGED, Level.INFO, "is still unhealthy: dead", dead),
        (bad, well, Event.ACCELERATOR_HEALED, Level.INFO, "is healthy again; it was: too hot", well),
        (well, away, Event.ACCELERATOR_VANISHED, Level.WARNING, "has vanished: gone", away),
        (away, bad, Event.ACCELERATOR_RETURNED, Level.INFO, "has come back", bad),
        (away, None, Event.ACCELERATOR_FORGOTTEN, Level.INFO, "is forgotten: it is gone, and nobody is known to hold it", away),
        (None, unbound, Event.ACCELERATOR_UNUSABLE, Level.INFO, "cannot be used: no driver is bound", unbound),
        (unbound, vfio, Event.ACCELERATOR_UNUSABLE, Level.INFO, "cannot be used: bound to vfio-pci", vfio),
        (unbound, well, Event.ACCELERATOR_FOUND, Level.INFO, "is found", well),
    ]
    for before, after, event, level, text, of in told:
        assert one(state(before), state(after)) == Change(event, level, f"R (rngd npu0) {text}", fields_of(of))
    assert changes(state(), state(bad))[1] == Change(
        Event.ACCELERATOR_FAILED, Level.WARNING, "R (rngd npu0) is unhealthy: too hot", fields_of(bad)
    )


def test_a_card_without_a_name_is_called_by_its_address_and_one_without_anything_by_its_id() -> None:
    assert one(state(), state(Tracked(replace(CARD, name=""), WELL))).text == "R (rngd 0000:27:00.0) is found"
    assert one(state(), state(Tracked(Accelerator("R", "", ""), WELL))).text == "R is found"


def test_a_card_that_no_resource_has_says_why_in_its_fields_until_it_is_forgotten() -> None:
    without = Plan(left_out={"R": LeftOut(Omission.EXCLUDED, "it is excluded")})
    away = Tracked(CARD, Health(False, "gone", 3.0), vanished_at=3.0)
    assert one(state(), state(Tracked(CARD, WELL), plan=without)).fields["left_out"] == Omission.EXCLUDED.value
    assert "left_out" not in one(state(away), state(plan=without)).fields


def test_what_happens_to_one_card_hides_nothing_of_the_next() -> None:
    a, b, c = (Tracked(replace(CARD, id=id), WELL) for id in "ABC")
    before = state({"A": a, "B": b, "C": c})
    after = state({"A": a, "C": replace(c, health=BAD)})
    assert [change.event for change in changes(before, after)] == [Event.ACCELERATOR_FORGOTTEN, Event.ACCELERATOR_FAILED]


def test_how_far_a_recovery_has_come_is_no_news() -> None:
    assert changes(state(Tracked(CARD, BAD)), state(Tracked(CARD, replace(BAD, good_readings=1)))) == []


def test_a_first_reading_is_told_only_where_it_is_bad() -> None:
    unread = Tracked(CARD, Health(False, "it has not been read yet", 1.0), unread=True)
    assert [event for event, _, _ in events(state(), state(unread))] == [Event.ACCELERATOR_FOUND]
    assert events(state(unread), state(Tracked(CARD, WELL))) == []
    assert one(state(unread), state(Tracked(CARD, BAD))).event is Event.ACCELERATOR_FAILED
    assert [event for event, _, _ in events(state(), state(Tracked(CARD, BAD)))] == [Event.ACCELERATOR_FOUND, Event.ACCELERATOR_FAILED]


def test_a_card_that_leaves_returns_and_is_forgotten() -> None:
    away = Tracked(CARD, Health(False, "npu0 is not there any more", 3.0), vanished_at=3.0)
    assert one(state(Tracked(CARD, WELL)), state(away)).event is Event.ACCELERATOR_VANISHED
    assert one(state(away), state(Tracked(CARD, BAD))).event is Event.ACCELERATOR_RETURNED
    assert events(state(away), state()) == [
        (Event.ACCELERATOR_FORGOTTEN, Level.INFO, "R (rngd npu0) is forgotten: it is gone, and nobody is known to hold it")
    ]


def test_a_card_that_cannot_be_used_is_told_without_alarm_and_found_when_it_can() -> None:
    unbound = Tracked(replace(CARD, unusable="no driver is bound"), BAD)
    assert events(state(), state(unbound)) == [(Event.ACCELERATOR_UNUSABLE, Level.INFO, "R (rngd npu0) cannot be used: no driver is bound")]
    other = Tracked(replace(CARD, unusable="bound to vfio-pci"), BAD)
    assert one(state(unbound), state(other)).event is Event.ACCELERATOR_UNUSABLE
    assert one(state(unbound), state(Tracked(CARD, WELL))).event is Event.ACCELERATOR_FOUND


def test_a_notice_is_told_when_it_comes() -> None:
    noted = Tracked(replace(CARD, notices=("two families describe it",)), WELL)
    notice = one(state(Tracked(CARD, WELL)), state(noted))
    assert (notice.event, notice.level) == (Event.ACCELERATOR_NOTICE, Level.WARNING)
    assert notice.text == "R (rngd npu0): two families describe it"
    assert notice.fields == {**fields_of(noted), "notice": "two families describe it"}
    assert [event for event, _, _ in events(state(), state(noted))] == [Event.ACCELERATOR_FOUND, Event.ACCELERATOR_NOTICE]


def test_a_problem_is_told_when_it_begins_changes_and_ends() -> None:
    well, bad = state(), state(problems={"backend sysfs": Problem("backend sysfs", "/sys hangs", 1.0)})
    worse = state(problems={"backend sysfs": Problem("backend sysfs", "/sys is gone", 1.0)})
    assert events(well, bad) == [(Event.PROBLEM_BEGAN, Level.ERROR, "backend sysfs: /sys hangs")]
    assert [one(*pair).fields for pair in ((well, bad), (bad, worse), (bad, well))] == [
        {"source": "backend sysfs", "problem": text} for text in ("/sys hangs", "/sys is gone", "/sys hangs")
    ]
    assert events(bad, worse) == [(Event.PROBLEM_CHANGED, Level.ERROR, "backend sysfs: /sys is gone")]
    assert events(bad, well) == [(Event.PROBLEM_ENDED, Level.INFO, "backend sysfs: the problem is over")]


def with_devices(*devices: Device) -> NodeState:
    return NodeState(plan=Plan({NPU: Pool(NPU, devices)}))


def test_a_device_that_is_withheld_is_told_with_the_reason_and_when_it_is_offered_again() -> None:
    free, kept = Device("R", "R", WELL), Device("R", "R", BAD, withheld="it may be held as U")
    withheld = one(with_devices(free), with_devices(kept))
    assert (withheld.event, withheld.level) == (Event.DEVICE_WITHHELD, Level.WARNING)
    fields = {"resource": NPU, "device": "R", "accelerator": "R"}
    assert withheld.fields == {**fields, "reason": "it may be held as U"}
    assert withheld.text == f"R of {NPU} is withheld: it may be held as U"
    released = one(with_devices(kept), with_devices(free))
    assert released == Change(Event.DEVICE_RELEASED, Level.INFO, f"R of {NPU} is offered again: nobody holds it", fields)
    assert [change.event for change in changes(NodeState(), with_devices(kept))] == [Event.RESOURCE_ADDED, Event.DEVICE_WITHHELD]


def test_a_device_that_was_never_withheld_is_not_told_of_when_it_changes() -> None:
    free = Device("R", "R", WELL)
    assert changes(with_devices(free), with_devices(replace(free, health=BAD))) == []
    assert [change.event for change in changes(NodeState(), with_devices(free))] == [Event.RESOURCE_ADDED]


def test_a_device_that_is_withheld_from_the_start_names_its_resource() -> None:
    kept = Device("R", "R", BAD, withheld="it may be held as U")
    assert changes(NodeState(), with_devices(kept))[1].fields["resource"] == NPU


def test_resources_and_configurations_come_and_go() -> None:
    fields = {"resource": NPU}
    assert one(NodeState(), with_devices()) == Change(Event.RESOURCE_ADDED, Level.INFO, f"{NPU} is offered", fields)
    assert one(with_devices(), NodeState()) == Change(Event.RESOURCE_REMOVED, Level.INFO, f"{NPU} is not offered any more", fields)
    applied = Change(Event.CONFIGURATION_APPLIED, Level.INFO, "configuration 2 is in force", {"revision": 2})
    assert one(NodeState(), NodeState(revision=2)) == applied


def test_a_selector_that_matches_nothing_on_this_host_is_told_once() -> None:
    before, after = NodeState(), NodeState(plan=Plan(unmatched={"exclude": "ids: rngd-7"}))
    told = one(before, after)
    assert (told.event, told.level) == (Event.SELECTOR_MATCHES_NOTHING, Level.WARNING)
    assert told.text == "exclude of the configuration selects by what matches no card of this host: ids: rngd-7"
    assert told.fields == {"place": "exclude", "unmatched": "ids: rngd-7"}
    assert changes(after, after) == []
