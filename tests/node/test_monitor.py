import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest

from npu_agent.config import configuration as config
from npu_agent.core.accelerator import Reading
from npu_agent.core.planning import ResourceSpec, Selector
from npu_agent.core.pool import Device, Pool
from npu_agent.node import monitor
from npu_agent.node.monitor import Monitor
from tests.shelf import Shelf

SHELVED = ResourceSpec("furiosa.ai/npu", Selector(families=("shelved",)))
QUICK = replace(
    config.DEFAULT,
    resources=(SHELVED,),
    probe_interval_s=0.01,
    probe_timeout_s=0.05,
    scan_interval_s=60.0,
    recover_after=2,
    vanished_linger_s=300.0,
)


class Kubelet:
    """What kubelet says of who holds devices: None where it cannot be asked."""

    def __init__(self) -> None:
        self.held: frozenset[tuple[str, str]] | None = frozenset()

    def hold(self, *ids: str) -> None:
        self.held = frozenset(("furiosa.ai/npu", id) for id in ids)

    async def __call__(self) -> frozenset[tuple[str, str]] | None:
        return self.held


@asynccontextmanager
async def watching(*shelves: Shelf, kubelet: Kubelet | None = None, configuration: config.Configuration = QUICK) -> AsyncIterator[Monitor]:
    watcher = Monitor({shelf.name: shelf for shelf in shelves}, configuration, kubelet or Kubelet())
    await watcher.look()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watcher.run)
        yield watcher
        tasks.cancel_scope.cancel()


async def until(watcher: Monitor, looks: Callable[[Sequence[Device]], bool]) -> Pool:
    with anyio.fail_after(5):
        async for pool in watcher.pools["furiosa.ai/npu"].follow():
            if looks(pool.devices):
                return pool
    raise AssertionError


def healthy(devices: Sequence[Device]) -> list[str]:
    return [device.id for device in devices if device.health.healthy]


async def test_the_first_look_is_complete() -> None:
    shelf = Shelf("a", "b")
    shelf.says["b"] = Reading(False, "alive reads 0")
    watcher = Monitor({"shelf": shelf}, QUICK, Kubelet())
    await watcher.look()
    first, second = watcher.pools["furiosa.ai/npu"].value.devices
    assert (first.id, first.health.healthy) == ("a", True)
    assert (second.id, second.health.reason) == ("b", "alive reads 0")


async def test_a_card_that_fails_and_heals_is_unhealthy_with_its_reason_in_between() -> None:
    shelf = Shelf("a", "b")
    async with watching(shelf) as watcher:
        shelf.says["a"] = Reading(False, "too hot")
        failed = await until(watcher, lambda devices: healthy(devices) == ["b"])
        assert failed.devices[0].health.reason == "too hot"
        shelf.says["a"] = Reading(healthy=True)
        assert (await until(watcher, lambda devices: healthy(devices) == ["a", "b"])).generation == failed.generation + 1


@pytest.mark.parametrize(
    ("says", "reason"), [(None, "did not answer within"), (ZeroDivisionError("oops"), "its backend failed: ZeroDivisionError: oops")]
)
async def test_a_card_in_trouble_delays_and_hides_no_other(says: Exception | None, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "PATIENCE_S", 0.01)
    shelf = Shelf("a", "b")
    async with watching(shelf) as watcher:
        shelf.says["a"] = says
        bad = await until(watcher, lambda devices: healthy(devices) == ["b"])
        assert reason in bad.devices[0].health.reason
        shelf.says["b"] = Reading(False, "dead")
        await until(watcher, lambda devices: healthy(devices) == [])


async def test_a_card_that_is_plugged_in_appears_without_waiting_for_the_next_scan() -> None:
    shelf = Shelf()
    async with watching(shelf) as watcher:
        shelf.put("new")
        await until(watcher, lambda devices: healthy(devices) == ["new"])


async def test_a_card_that_leaves_is_forgotten_where_nobody_holds_it() -> None:
    shelf = Shelf("a", "b")
    async with watching(shelf) as watcher:
        shelf.take("a")
        await until(watcher, lambda devices: [device.id for device in devices] == ["b"])


async def test_a_card_that_leaves_stays_as_unhealthy_while_a_pod_holds_it_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "HELD_AGAIN_S", 0.02)
    shelf, kubelet = Shelf("a", "b"), Kubelet()
    kubelet.hold("a")
    async with watching(shelf, kubelet=kubelet) as watcher:
        shelf.take("a")
        away = await until(watcher, lambda devices: healthy(devices) == ["b"])
        assert "a is not there any more" in away.devices[0].health.reason
        kubelet.hold()
        await until(watcher, lambda devices: [device.id for device in devices] == ["b"])


async def test_a_card_that_leaves_stays_for_a_while_where_kubelet_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitor, "HELD_AGAIN_S", 0.02)
    shelf, kubelet = Shelf("a", "b"), Kubelet()
    kubelet.held = None
    async with watching(shelf, kubelet=kubelet, configuration=replace(QUICK, vanished_linger_s=0.1)) as watcher:
        shelf.take("a")
        await until(watcher, lambda devices: len(devices) == 2 and healthy(devices) == ["b"])
        await until(watcher, lambda devices: len(devices) == 1)


async def test_a_card_that_lost_its_driver_is_not_handed_out_but_known() -> None:
    shelf = Shelf("a")
    async with watching(shelf) as watcher:
        shelf.put("a", unusable="no driver is bound")
        await until(watcher, lambda devices: not devices)
        with anyio.fail_after(5):
            async for inventory in watcher.inventory.follow():
                if "a" in inventory and inventory["a"].vanished_at is None:
                    assert inventory["a"].accelerator.unusable == "no driver is bound"
                    break


@pytest.mark.parametrize("trouble", [OSError("the bus is gone"), ZeroDivisionError("oops")])
async def test_a_backend_that_cannot_look_keeps_what_it_found_and_says_so_once(
    trouble: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shelf = Shelf("a")
    async with watching(shelf) as watcher:
        shelf.scan_fails = trouble
        for _ in range(3):
            shelf.put("later")
            await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(5):
            while not watcher.problems.value:
                await watcher.problems.changed()
        assert "shelf" in watcher.problems.value["shelf"]
        assert healthy(watcher.pools["furiosa.ai/npu"].value.devices) == ["a"]
        shelf.scan_fails = None
        shelf.put("later")
        await until(watcher, lambda devices: healthy(devices) == ["a", "later"])
        assert watcher.problems.value == {}
    assert len([record for record in caplog.records if "what it found before stays" in record.getMessage()]) == 1


async def test_a_card_that_two_backends_find_is_one_device() -> None:
    async with watching(Shelf("a", name="one"), Shelf("a", "b", name="two")) as watcher:
        assert healthy(watcher.pools["furiosa.ai/npu"].value.devices) == ["a", "b"]


async def test_partitions_are_those_of_the_card_s_own_backend() -> None:
    halves = replace(QUICK, resources=(replace(SHELVED, partition="half"),))
    async with watching(Shelf("a"), configuration=halves) as watcher:
        assert healthy(watcher.pools["furiosa.ai/npu"].value.devices) == ["a_left", "a_right"]
