"""Somebody else registers our resource: how it is found, and how we are back when he has gone."""

import socket
import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import pytest

from npu_agent.deviceplugin import comparison
from npu_agent.deviceplugin.comparison import Ask, Told, Verdict, judge
from npu_agent.observe.podresources import PodResources
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.deviceplugin.test_link import ALL, linking, sees, until_told
from tests.deviceplugin.test_link import Told as Texts
from tests.simulator.own_task import in_own_task
from tests.simulator.plugin import Plugin

NPU = "furiosa.ai/npu"
OURS = Told(frozenset("ab"), frozenset("abc"), "npu-agent-npu-1.sock", 0.0)


@pytest.mark.parametrize(
    ("allocatable", "others", "verdict"),
    [
        ("ab", False, Verdict.AS_TOLD),
        ("ab", True, Verdict.AS_TOLD),
        ("", False, Verdict.LOST),
        ("", True, Verdict.LOST),
        ("a", True, Verdict.LOST),
        ("abc", True, Verdict.LOST),
        ("xy", True, Verdict.STRANGER),
        ("ax", True, Verdict.STRANGER),
        ("xy", False, Verdict.LOST),
    ],
)
def test_what_kubelet_has_tells_who_serves_it(allocatable: str, others: bool, verdict: Verdict) -> None:
    assert judge(OURS, frozenset(allocatable), others=others) is verdict


def asker(kubelet: SimulatedKubelet) -> Ask:
    pod_resources = PodResources(kubelet.kubelet_dir / "pod-resources/kubelet.sock")

    async def ask() -> Mapping[str, frozenset[str]]:
        return await pod_resources.allocatable()

    return ask


async def test_a_stranger_that_registers_our_resource_and_leaves_costs_at_most_3_s(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir, version="1.36.3") as kubelet, linking(kubelet.plugin_dir, ask=asker(kubelet)):
        await kubelet.start()
        await sees(kubelet, ALL)
        async with in_own_task(Plugin(kubelet.plugin_dir, "stranger.sock", resource=NPU, x=True)) as stranger:
            await stranger.register()
            with anyio.fail_after(5):
                await kubelet.until(lambda: kubelet.quantities()[NPU] != ALL)
        began = time.monotonic()
        await sees(kubelet, ALL)
        assert time.monotonic() - began < 3


async def test_a_stranger_that_stays_is_told_of_and_not_fought(short_dir: Path) -> None:
    told = Texts(())
    async with SimulatedKubelet(short_dir, version="1.36.3") as kubelet, linking(kubelet.plugin_dir, told=told, ask=asker(kubelet)):
        await kubelet.start()
        await sees(kubelet, ALL)
        async with in_own_task(Plugin(kubelet.plugin_dir, "stranger.sock", resource=NPU, x=True)) as stranger:
            calls = kubelet.register_calls
            await stranger.register()
            await until_told(told, "somebody else serves furiosa.ai/npu to kubelet: stranger.sock (process")
            assert kubelet.register_calls == calls + 1
        await sees(kubelet, ALL)
        await until_told(told, "")


async def test_nothing_is_concluded_while_kubelet_cannot_be_asked(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for interval in ("SELDOM_S", "OFTEN_S"):
        monkeypatch.setattr(comparison, interval, 0.02)
    monkeypatch.setattr(comparison, "SETTLED_S", 0.0)
    asked = 0
    often = anyio.Event()

    async def ask() -> None:
        nonlocal asked
        asked += 1
        if asked == 5:
            often.set()

    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, ask=ask):
        await kubelet.start()
        await sees(kubelet, ALL)
        calls = kubelet.register_calls
        with anyio.fail_after(5):
            await often.wait()
        assert kubelet.register_calls == calls


async def test_a_socket_that_accepts_nobody_is_listened_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(tmp_path / "full.sock"))
        listening.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.connect(str(tmp_path / "full.sock"))
            assert comparison._listener(tmp_path / "full.sock") == "a process that accepts no connections"
    assert comparison._listener(tmp_path / "full.sock") == ""
