"""Somebody else registers our resource: how it is found, and how we are back when he has gone."""

import os
import shutil
import socket
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from npu_agent.core.health import Health
from npu_agent.core.pool import Device
from npu_agent.deviceplugin import comparison
from npu_agent.deviceplugin.comparison import Ask, SharedAnswer
from npu_agent.deviceplugin.neighbours import Neighbours
from npu_agent.flow.current import Current
from npu_agent.observe.podresources import PodResources
from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.deviceplugin.links import ALL, POOL, linking, sees, until, until_told
from tests.deviceplugin.links import Told as Texts
from tests.simulator.own_task import in_own_task
from tests.simulator.plugin import Plugin

NPU = "furiosa.ai/npu"
BOTH_SIDES = pytest.mark.parametrize("version", ["1.36.3", "1.37.2"])


def asker(kubelet: SimulatedKubelet) -> Ask:
    pod_resources = PodResources(kubelet.kubelet_dir / "pod-resources/kubelet.sock")

    async def ask() -> Mapping[str, frozenset[str]]:
        return await pod_resources.allocatable()

    return ask


def healthy(kubelet: SimulatedKubelet) -> set[str]:
    assert kubelet._process is not None
    return set(kubelet._process.devices.healthy.get(NPU, ()))


async def has(kubelet: SimulatedKubelet, *ids: str) -> None:
    with anyio.fail_after(5):
        await kubelet.until(lambda: healthy(kubelet) == set(ids))


@BOTH_SIDES
@pytest.mark.parametrize("ids", ["xyz", "ab"])
async def test_a_stranger_that_registers_our_resource_and_leaves_costs_at_most_3_s(short_dir: Path, version: str, ids: str) -> None:
    async with SimulatedKubelet(short_dir, version=version) as kubelet, linking(kubelet.plugin_dir, ask=asker(kubelet)) as link:
        await kubelet.start()
        await sees(kubelet, ALL)
        await until(link, lambda registration: registration.registrations == 1)
        plugin = Plugin(kubelet.plugin_dir, "stranger.sock", resource=NPU, **dict.fromkeys(ids, True))
        async with in_own_task(plugin) as stranger:
            await stranger.register()
            await has(kubelet, *ids)
        (kubelet.plugin_dir / "stranger.sock").unlink()
        began = time.monotonic()
        if (version, ids) != ("1.37.2", "ab"):
            await until(link, lambda registration: registration.registrations == 2)
        await has(kubelet, "a", "b")
        assert time.monotonic() - began < 3


async def test_a_stranger_that_is_killed_and_leaves_its_socket_behind_costs_no_more(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir, version="1.36.3") as kubelet, linking(kubelet.plugin_dir, ask=asker(kubelet)):
        await kubelet.start()
        await sees(kubelet, ALL)
        async with in_own_task(Plugin(kubelet.plugin_dir, "stranger.sock", resource=NPU, a=True, b=True, c=True)) as stranger:
            await stranger.register()
            await has(kubelet, "a", "b", "c")
        began = time.monotonic()
        await has(kubelet, "a", "b")
        assert time.monotonic() - began < 3
        assert (kubelet.plugin_dir / "stranger.sock").exists()


@BOTH_SIDES
async def test_a_stranger_that_stays_is_told_of_and_not_fought_and_we_are_back_when_it_leaves(short_dir: Path, version: str) -> None:
    told = Texts(())
    pool = Current(POOL)
    async with (
        SimulatedKubelet(short_dir, version=version) as kubelet,
        linking(kubelet.plugin_dir, pool, told=told, ask=asker(kubelet)) as link,
    ):
        await kubelet.start()
        await sees(kubelet, ALL)
        async with in_own_task(Plugin(kubelet.plugin_dir, "stranger.sock", resource=NPU, x=True)) as stranger:
            await stranger.register()
            calls = kubelet.register_calls
            who = f"stranger.sock of process {os.getpid()} ("
            await until_told(told, f"another device plugin serves this resource: {who}")
            assert (await until(link, lambda registration: who in registration.reason)).state == "waiting"
            # Our list would make kubelet hand out our devices by the stranger's answers.
            pool.set(replace(POOL, devices=POOL.devices[:1]))
            await anyio.sleep(comparison.SOON_S[1])
            assert (healthy(kubelet), kubelet.register_calls) == ({"x"}, calls)
        began = time.monotonic()
        await has(kubelet, "a")
        assert time.monotonic() - began < 3
        await until_told(told, "")


async def test_a_list_that_changes_while_a_stranger_leaves_does_not_hide_that_nobody_serves_us(short_dir: Path) -> None:
    """Up to 1.36 kubelet takes the list of our stream, and would show devices whose endpoint has been stopped."""
    pool = Current(POOL)
    async with SimulatedKubelet(short_dir, version="1.36.3") as kubelet, linking(kubelet.plugin_dir, pool, ask=asker(kubelet)) as link:
        await kubelet.start()
        await sees(kubelet, ALL)
        async with in_own_task(Plugin(kubelet.plugin_dir, "stranger.sock", resource=NPU, a=True, b=True)) as stranger:
            await stranger.register()
            await anyio.sleep(comparison.SOON_S[0])
        await sees(kubelet, Quantity(2, 0))
        (kubelet.plugin_dir / "stranger.sock").unlink()
        link.ring()
        pool.set(replace(POOL, devices=POOL.devices[:1]))
        await until(link, lambda registration: registration.registrations == 2)
        await has(kubelet, "a")


async def test_a_stranger_that_comes_and_goes_while_no_device_is_healthy_is_not_overlooked(short_dir: Path) -> None:
    pool = Current(replace(POOL, devices=(Device("a", "a", Health(False, "dead", 0.0)),)))
    async with SimulatedKubelet(short_dir, version="1.36.3") as kubelet, linking(kubelet.plugin_dir, pool, ask=asker(kubelet)) as link:
        await kubelet.start()
        await sees(kubelet, Quantity(1, 0))
        async with in_own_task(Plugin(kubelet.plugin_dir, "stranger.sock", resource=NPU, a=False)) as stranger:
            await stranger.register()
            await anyio.sleep(comparison.SOON_S[0])
        await until(link, lambda registration: registration.registrations == 2)


async def test_a_plugin_of_another_resource_that_comes_and_goes_changes_nothing(short_dir: Path) -> None:
    told = Texts(())
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, told=told, ask=asker(kubelet)) as link:
        await kubelet.start()
        await sees(kubelet, ALL)
        async with in_own_task(Plugin(kubelet.plugin_dir, "other.sock", x=True)) as other:
            await other.register()
            await anyio.sleep(1)
        await anyio.sleep(comparison.SOON_S[1] + 1)
        assert link.registration.value.registrations == 1
        assert not any(told.value)


async def test_nothing_is_concluded_while_kubelet_cannot_be_asked(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "COMPARE_EVERY_S", 0.02)
    monkeypatch.setattr(comparison, "SOON_S", (0.02, 0.02, 0.02))
    monkeypatch.setattr(comparison, "SETTLED_S", 0.0)
    asked = 0
    often = anyio.Event()

    async def ask() -> None:
        nonlocal asked
        asked += 1
        if asked == 5:
            often.set()

    monkeypatch.setattr(comparison, "AGAIN_S", 0.0)
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, ask=ask):
        await kubelet.start()
        await sees(kubelet, ALL)
        calls = kubelet.register_calls
        with anyio.fail_after(5):
            await often.wait()
        assert kubelet.register_calls == calls


async def test_a_kubelet_that_never_has_what_it_was_told_is_not_told_anew_without_end(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COMPARE_EVERY_S", "SETTLED_S", "AGAIN_S"):
        monkeypatch.setattr(comparison, name, 0.01)
    monkeypatch.setattr(comparison, "SOON_S", (0.01, 0.01, 0.01))
    told = Texts(())

    async def ask() -> Mapping[str, frozenset[str]]:
        return {}

    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, told=told, ask=ask) as link:
        await kubelet.start()
        await until_told(told, "kubelet has other devices of this resource than it was told, also after it was told anew")
        assert link.registration.value.registrations == 4
        await anyio.sleep(0.5)
        assert link.registration.value.registrations == 4


async def test_all_links_have_one_answer_to_a_question_that_they_ask_at_once() -> None:
    asked = 0

    async def ask() -> Mapping[str, frozenset[str]]:
        nonlocal asked
        asked += 1
        await anyio.lowlevel.checkpoint()
        return {NPU: frozenset("a")}

    shared = SharedAnswer(ask)
    answers: list[object] = []

    async def link() -> None:
        answers.append(await shared())

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(link)
    assert answers == [{NPU: frozenset("a")}] * 10
    assert asked == 1


async def test_a_socket_that_accepts_nobody_is_served_by_somebody(short_dir: Path) -> None:
    changes = 0

    def changed() -> None:
        nonlocal changes
        changes += 1

    neighbours = Neighbours(short_dir, lambda name: name == "ours.sock", changed)
    neighbours.settle()
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as ours:
        ours.bind(str(short_dir / "ours.sock"))
        listening.bind(str(short_dir / "full.sock"))
        listening.listen(0)
        first.connect(str(short_dir / "full.sock"))
        neighbours.look()
        assert await neighbours.living() == ["full.sock"]
        assert not neighbours.left
    (short_dir / "full.sock").unlink()
    before = changes
    neighbours.look()
    assert (await neighbours.living(), neighbours.left, changes) == ([], True, before + 1)
    neighbours.close()


async def test_what_a_socket_and_its_process_are_called_is_made_printable(short_dir: Path) -> None:
    neighbours = Neighbours(short_dir, lambda name: False, lambda: None)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(short_dir / "a\x1b[31m\n.sock"))
        listening.listen()
        neighbours.look()
        (name,) = await neighbours.living()
        assert name.startswith(r"a\x1b[31m\n.sock of process ")
        assert name.isprintable()
        neighbours.close()


async def test_a_folder_that_is_removed_is_no_reason_to_end(short_dir: Path) -> None:
    (short_dir / "k").mkdir()
    neighbours = Neighbours(short_dir / "k", lambda name: False, lambda: None)
    shutil.rmtree(short_dir / "k")
    neighbours.look()
    assert await neighbours.living() == []
