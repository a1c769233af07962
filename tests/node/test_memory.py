"""What is remembered of allocations, and when it is known that nobody holds a device any more."""

from dataclasses import replace

import anyio
import pytest

from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Part
from npu_agent.core.allocations import Allocation, allocation_of
from npu_agent.core.errors import NpuAgentError
from npu_agent.core.health import Health
from npu_agent.core.inventory import Tracked
from npu_agent.core.moment import Moment
from npu_agent.core.planning import Wanted, plan
from npu_agent.core.registration import Holder
from npu_agent.core.selection import ResourceSpec
from npu_agent.core.state import Holders, NodeState
from npu_agent.node.memory import ADMITTED_S, FILE, SETTLED_S, SOURCE, Memory
from tests.node.watched import NPU, Folder

CARD = Accelerator("A", "sysfs", "rngd", name="npu0", uuid="A", parts=(Part("", "", ContainerEdits((DeviceNode("/dev/a", "/dev/a"),))),))
INVENTORY = {"A": Tracked(CARD, Health(True, "", 0.0))}
STATE = NodeState(INVENTORY, plan(INVENTORY, Wanted([ResourceSpec(NPU)])))
GIVEN = allocation_of(NPU, STATE.plan.pools[NPU].devices[0], CARD)
NOTHING: tuple[Allocation, ...] = ()
HELD: Holders = {(NPU, "A"): (Holder("default", "pod", "main"),)}


def at(seconds: float) -> Moment:
    return Moment(seconds, seconds)


class Told(dict[str, str]):
    def __call__(self, source: str, text: str) -> None:
        self[source] = text


def memory(folder: Folder | None = None, told: Told | None = None) -> Memory:
    return Memory(folder, told if told is not None else Told())


def settled(kept: Memory) -> float:
    """Have kubelet be there for long enough to know its pods; return the time that it is then."""
    kept.hear(HELD, STATE, at(0))
    return SETTLED_S + ADMITTED_S


async def test_what_is_given_is_remembered_over_a_restart() -> None:
    folder = Folder()
    before = memory(folder)
    before.record([GIVEN], at(1))
    await before.save()
    after = memory(folder)
    await after.load(at(0))
    assert after.live == (GIVEN,)


async def test_of_two_that_are_given_at_once_both_are_remembered_however_slow_the_first_write_is() -> None:
    class SlowFolder(Folder):
        async def write(self, name: str, content: bytes) -> None:
            if not writes:
                writes.append(content)
                await may_go_on.wait()
            await super().write(name, content)

    writes: list[bytes] = []
    may_go_on = anyio.Event()
    folder = SlowFolder()
    before = memory(folder)
    async with anyio.create_task_group() as tasks:
        before.record([GIVEN], at(1))
        tasks.start_soon(before.save)
        await anyio.wait_all_tasks_blocked()
        before.record([replace(GIVEN, device_id="B")], at(1))
        tasks.start_soon(before.save)
        await anyio.wait_all_tasks_blocked()
        may_go_on.set()
    after = memory(folder)
    await after.load(at(0))
    assert [allocation.device_id for allocation in after.live] == ["A", "B"]


async def test_a_memory_of_another_version_is_told() -> None:
    told = Told()
    kept = memory(Folder({FILE: b'{"version": 2, "allocations": []}'}), told)
    await kept.load(at(0))
    assert "has the version 2" in told[SOURCE]


async def test_a_first_start_remembers_nothing() -> None:
    kept, told = memory(Folder(), Told()), Told()
    await kept.load(at(0))
    assert (kept.live, told) == ((), {})


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"version": 1}', b'{"version": 1, "allocations": [7]}', b"\xff", b"[" * 100_000])
async def test_a_memory_that_cannot_be_read_is_told_and_left_aside(content: bytes) -> None:
    told = Told()
    kept = memory(Folder({FILE: content}), told)
    await kept.load(at(0))
    assert kept.live == NOTHING
    assert "cannot be read" in told[SOURCE]


async def test_a_memory_that_cannot_be_written_is_told_and_nothing_fails() -> None:
    class Full(Folder):
        async def write(self, name: str, content: bytes) -> None:
            raise NpuAgentError("No space left on device")

    told, folder = Told(), Full()
    kept = memory(folder, told)
    kept.record([GIVEN], at(0))
    await kept.save()
    assert "cannot be remembered over a restart of the agent: No space left on device" in told[SOURCE]
    assert kept.live == (GIVEN,)


async def test_it_is_written_only_when_it_differs() -> None:
    folder = Folder()
    kept = memory(folder)
    kept.record([GIVEN], at(0))
    await kept.save()
    folder.files.clear()
    kept.record([GIVEN], at(1))
    await kept.save()
    assert folder.files == {}


def test_a_device_that_kubelet_lists_is_held() -> None:
    kept = memory()
    kept.record([GIVEN], at(0))
    for now in (settled(kept), 100.0, 101.0):
        kept.hear(HELD, STATE, at(now))
        assert kept.live == (GIVEN,)


def test_a_device_is_free_when_kubelet_has_said_so_twice() -> None:
    kept = memory()
    kept.record([GIVEN], at(0))
    now = settled(kept)
    kept.hear({}, STATE, at(now))
    assert kept.live == (GIVEN,)
    assert kept.wants_answer
    kept.hear({}, STATE, at(now + 1))
    assert kept.live == NOTHING


def test_a_pod_that_is_being_admitted_is_not_listed_yet() -> None:
    kept = memory()
    now = settled(kept)
    kept.record([GIVEN], at(now))
    for later in (0.5, 1.0, 1.5):
        kept.hear({}, STATE, at(now + later))
    assert kept.live == (GIVEN,)


@pytest.mark.parametrize("change", ["kubelet changed", "could not be asked"])
def test_a_kubelet_that_has_just_started_does_not_know_its_pods(change: str) -> None:
    kept = memory()
    kept.record([GIVEN], at(0))
    now = settled(kept)
    if change == "kubelet changed":
        kept.kubelet_changed()
    else:
        kept.hear(None, STATE, at(now))
    for later in (1, SETTLED_S / 2, SETTLED_S):
        kept.hear({}, STATE, at(now + later))
        assert kept.live == (GIVEN,)
    kept.hear({}, STATE, at(now + SETTLED_S + 1))
    kept.hear({}, STATE, at(now + SETTLED_S + 2))
    assert kept.live == NOTHING


def test_where_kubelet_cannot_be_asked_nothing_is_forgotten() -> None:
    kept = memory()
    kept.record([GIVEN], at(0))
    for now in (100.0, 1e6):
        kept.hear(None, STATE, at(now))
    assert kept.live == (GIVEN,)


def test_what_kubelet_alone_knows_is_taken_for_what_is_there() -> None:
    kept = memory()
    kept.hear(HELD, NodeState(), at(0))
    assert kept.live == (Allocation(NPU, "A"),)
    kept.hear(HELD, STATE, at(1))
    assert kept.live == (GIVEN,)
