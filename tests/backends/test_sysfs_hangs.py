"""Cards whose reads do not come back: what is said of them, and that nobody waits for them."""

import threading
import time

import anyio
import pytest

from npu_agent.backends.errors import BackendError
from npu_agent.backends.sysfs import backend as sysfs
from npu_agent.backends.sysfs.backend import SysfsBackend
from npu_agent.core.accelerator import Accelerator, Reading
from tests.backends.only import only
from tests.host_tree import HostTree


@pytest.fixture
def backend(backend: SysfsBackend) -> SysfsBackend:
    backend.probe_timeout_s = 0.2
    return backend


async def readings(backend: SysfsBackend, accelerators: list[Accelerator]) -> dict[str, Reading]:
    answers: dict[str, Reading] = {}

    async def probe(accelerator: Accelerator) -> None:
        answers[accelerator.name] = await backend.probe(accelerator)

    async with anyio.create_task_group() as tasks:
        for accelerator in accelerators:
            tasks.start_soon(probe, accelerator)
    return answers


async def test_a_card_that_hangs_is_unhealthy_and_delays_no_other(tree: HostTree, backend: SysfsBackend) -> None:
    backend.probe_timeout_s = 30
    cards = [tree.rngd(index) for index in range(8)]
    accelerators = list(await backend.scan())
    tree.hang(cards[3], "device_state")
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(backend.probe, accelerators[3])
            with anyio.fail_after(10):
                answers = await readings(backend, accelerators[:3] + accelerators[4:])
            tasks.cancel_scope.cancel()
        assert len(answers) == 7
        assert all(reading.healthy for reading in answers.values())
    finally:
        tree.release(cards[3], "device_state", "0\n")


async def test_the_reason_stays_the_same_for_as_long_as_the_card_hangs(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.warboy()
    (accelerator,) = await backend.scan()
    tree.hang(card, "alive")
    try:
        first = await backend.probe(accelerator)
        assert first == await backend.probe(accelerator)
        assert not first.healthy
        assert first.reason.startswith("a read of /sys/class/npu_mgmt/npu0_mgmt has not come back for 0.2 s: the card or its driver hangs")
    finally:
        tree.release(card, "alive", "1\n")


async def test_a_card_that_comes_back_is_read_again(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.warboy()
    (accelerator,) = await backend.scan()
    tree.hang(card, "alive")
    assert not (await backend.probe(accelerator)).healthy
    tree.release(card, "alive", "1\n")
    with anyio.fail_after(5):
        while not (await backend.probe(accelerator)).healthy:
            await anyio.lowlevel.checkpoint()


async def test_asking_often_starts_no_threads(tree: HostTree, backend: SysfsBackend) -> None:
    cards = [tree.rngd(index) for index in range(8)]
    accelerators = list(await backend.scan())
    before = threading.active_count()
    tree.hang(cards[0], "device_state")
    tree.hang(cards[1], "device_state")
    try:
        for _ in range(10):
            await readings(backend, accelerators)
        assert threading.active_count() - before <= len(cards), "and not one for each of the 80 questions"
    finally:
        tree.release(cards[0], "device_state", "0\n")
        tree.release(cards[1], "device_state", "0\n")


@pytest.mark.parametrize(
    ("attribute", "id"), [("device_uuid", "0000-27-00.0"), ("platform_type", "0000-27-00.0"), ("busname", "rngd-npu0")]
)
async def test_a_card_that_hangs_when_it_is_found_hides_no_other(
    tree: HostTree, backend: SysfsBackend, monkeypatch: pytest.MonkeyPatch, attribute: str, id: str
) -> None:
    card, other = tree.rngd(0), tree.rngd(1)
    tree.hang(card, attribute)
    try:
        found = {accelerator.id: accelerator for accelerator in await backend.scan()}
        assert found[other.uuid].unusable == ""
        assert found[id].unusable.startswith("/sys/class/rngd_mgmt/rngd!npu0mgmt is not read yet: the card or its driver hangs")
        assert not (await backend.probe(found[id])).healthy
        monkeypatch.setattr(sysfs, "SCAN_PATIENCE_S", 30.0)
        monkeypatch.setattr(sysfs, "SCAN_WITHIN_S", 30.0)
        with anyio.fail_after(10):  # it is known to hang by now, and no scan waits for it again
            await backend.scan()
    finally:
        tree.release(card, attribute, {"device_uuid": card.uuid, "platform_type": "FuriosaAI", "busname": card.bdf}[attribute])
    with anyio.fail_after(5):
        while any(accelerator.unusable for accelerator in await backend.scan()):
            await anyio.lowlevel.checkpoint()
    assert len(await backend.scan()) == 2


async def test_a_card_that_hangs_in_the_scan_after_the_one_that_found_it_stays(
    tree: HostTree, backend: SysfsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tree.rngd()
    found = await backend.scan()
    monkeypatch.setattr(sysfs, "SCAN_PATIENCE_S", 0.02)
    tree.hang(card, "device_uuid")
    try:
        assert await backend.scan() == found
        assert not (await backend.probe(found[0])).healthy
    finally:
        tree.release(card, "device_uuid", f"{card.uuid}\n")


async def test_a_card_that_is_read_after_its_time_is_hinted_at_once(
    tree: HostTree, backend: SysfsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sysfs, "SCAN_PATIENCE_S", 0.02)
    card = tree.rngd()
    tree.hang(card, "device_uuid")
    hints = backend.hints()
    async with anyio.create_task_group() as tasks:
        hinted = anyio.Event()

        async def follow() -> None:
            await anext(hints)
            hinted.set()

        tasks.start_soon(follow)
        assert (await only(backend)).unusable
        assert not hinted.is_set()
        tree.release(card, "device_uuid", card.uuid)
        with anyio.fail_after(5):
            await hinted.wait()
    monkeypatch.setattr(sysfs, "SCAN_PATIENCE_S", 5)
    assert ((await only(backend)).id, (await only(backend)).unusable) == (card.uuid, "")
    await hints.aclose()  # type: ignore[attr-defined]


async def test_a_scan_waits_a_moment_for_a_card_that_hangs(tree: HostTree, backend: SysfsBackend) -> None:
    card, other = tree.rngd(0), tree.rngd(1)
    tree.hang(card, "device_uuid")
    try:
        began = time.monotonic()
        found = {accelerator.name: accelerator.unusable for accelerator in await backend.scan()}
        assert time.monotonic() - began < 2 * sysfs.SCAN_PATIENCE_S
        assert "is not read yet" in found["npu0"]
        assert found[f"npu{other.index}"] == ""
    finally:
        tree.release(card, "device_uuid", card.uuid)


async def test_sysfs_that_hangs_is_told_in_the_same_words_for_as_long_as_it_does(
    backend: SysfsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = threading.Event()
    monkeypatch.setattr(backend._view, "look", stuck.wait)
    told = []
    for _ in range(3):
        with pytest.raises(BackendError) as caught:
            await backend.scan()
        told.append(str(caught.value))
    stuck.set()
    assert set(told) == {"/sys does not answer: a read has not come back within 0.2 s; see the kernel's log"}


async def test_very_many_entries_are_read_in_turn_and_none_of_them_is_told_to_hang(tree: HostTree, backend: SysfsBackend) -> None:
    backend.probe_timeout_s = 30
    files = {"platform_type": "FuriosaAI", "device_type": "RNGD", "busname": "0000:27:00.0", "device_uuid": "A", "device_sn": ""}
    for index in range(5000):
        tree.class_entry("rngd_mgmt", f"rngd!npu{index}mgmt", files)
    with anyio.fail_after(60):
        while True:
            found = await backend.scan()
            assert len(found) == 5000
            assert not [accelerator.unusable for accelerator in found if "hang" in accelerator.unusable]
            if not any(accelerator.unusable for accelerator in found):
                break
    assert len({accelerator.id for accelerator in found}) == 5000


async def test_a_backend_is_left_while_a_card_hangs(tree: HostTree) -> None:
    card = tree.warboy()
    with anyio.fail_after(2):
        async with SysfsBackend({}, host_root=tree.root) as backend:
            backend.probe_timeout_s = 0.05
            (accelerator,) = await backend.scan()
            tree.hang(card, "alive")
            await backend.probe(accelerator)
    tree.release(card, "alive", "1\n")
