from collections.abc import AsyncIterator

import anyio
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from npu_agent.api.v1beta1 import CdiDevice, ContainerAllocateResponse, DevicePluginOptions, DeviceSpec, Mount
from npu_agent.simulator.allocation import merged
from npu_agent.simulator.errors import PodRejected
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.pods import Container, Pod
from tests.scenarios.eventually import eventually
from tests.simulator.own_task import in_own_task
from tests.simulator.plugin import RESOURCE, Plugin, shows


@pytest.fixture
async def plugin(kubelet: SimulatedKubelet) -> AsyncIterator[Plugin]:
    async with in_own_task(Plugin(kubelet.plugin_dir, a=True, b=True, c=True, d=True)) as plugin:
        plugin.options = DevicePluginOptions(get_preferred_allocation_available=True)
        await plugin.register()
        await shows(kubelet, 4, 4)
        yield plugin


def pod(name: str, count: int = 1) -> Pod:
    return Pod(name, (Container(devices={RESOURCE: count}),))


async def refused(kubelet: SimulatedKubelet, pod: Pod) -> str:
    """Return why kubelet rejects the pod, short of what it says of every rejection."""
    with pytest.raises(PodRejected) as rejection:
        await kubelet.run_pod(pod)
    assert rejection.value.reason == "UnexpectedAdmissionError"
    return rejection.value.message.removeprefix("Pod was rejected: Allocate failed due to ").removesuffix(", which is unexpected")


async def test_a_plugin_that_offers_no_preference_is_not_asked(kubelet: SimulatedKubelet, plugin: Plugin) -> None:
    plugin.options = DevicePluginOptions()
    await plugin.register()
    await kubelet.run_pod(pod("pair", 2))
    assert plugin.preferences == []


async def test_more_than_there_is_is_refused_without_a_call(kubelet: SimulatedKubelet, plugin: Plugin) -> None:
    await kubelet.run_pod(pod("one"))
    calls = list(plugin.calls)
    assert await refused(kubelet, pod("greedy", 4)) == (
        f"requested number of devices unavailable for {RESOURCE}. Requested: 4, Available: 3"
    )
    assert plugin.calls == calls


async def test_init_containers_hand_over_and_sidecars_keep(kubelet: SimulatedKubelet, plugin: Plugin) -> None:
    """The order that was seen of a real kubelet: i1 asks 2, the sidecar gets one of them, m1 the other one and a new one."""
    containers = (
        Container("m1", {RESOURCE: 2}),
        Container("m2", {RESOURCE: 1}),
        Container("i1", {RESOURCE: 2}, init=True),
        Container("sidecar", {RESOURCE: 1}, init=True, restartable=True),
    )
    await kubelet.run_pod(Pod("assisted", containers))
    held = {name: resources[RESOURCE] for name, resources in kubelet.held("assisted").items()}
    assert held["sidecar"] < held["i1"]
    (handed,) = held["i1"] - held["sidecar"]
    assert handed in held["m1"]
    assert held["sidecar"] | held["m1"] | held["m2"] == set("abcd")
    # Nothing is asked where reused devices are enough: that is the sidecar.
    assert [(must, size) for _, must, size in plugin.preferences] == [(frozenset(), 2), ({handed}, 2), (frozenset(), 1)]
    assert len(plugin.calls_of("allocate")) == 4


async def test_each_start_of_a_container_is_told_to_a_plugin_that_wants_it(kubelet: SimulatedKubelet, plugin: Plugin) -> None:
    plugin.options = DevicePluginOptions(pre_start_required=True)
    plugin.pre_start_errors = [GRPCError(Status.UNAVAILABLE, "warming up")]
    await plugin.register()
    await kubelet.run_pod(pod("one"))
    await kubelet.restart_containers("one")
    (device,) = kubelet.held("one")["main"][RESOURCE]
    assert plugin.calls_of("pre-start") == [(device,)] * 3
    assert len(plugin.calls_of("allocate")) == 1


async def test_a_container_that_starts_without_a_cached_answer_is_allocated_anew(kubelet: SimulatedKubelet, plugin: Plugin) -> None:
    await kubelet.run_pod(pod("one"))
    await kubelet.stop()
    (kubelet.plugin_dir / "kubelet_internal_checkpoint").unlink()
    await kubelet.start()
    async with Plugin(kubelet.plugin_dir, "again.sock", a=True) as again:
        await again.register()
        await shows(kubelet, 1, 1)
        with anyio.fail_after(5):
            await kubelet.restart_containers("one")
        assert again.calls_of("allocate") == [("a",)]
        assert kubelet.held("one") == {"main": {RESOURCE: {"a"}}}


async def test_a_start_that_is_not_answered_is_given_up_after_a_while_and_tried_again(
    kubelet: SimulatedKubelet, plugin: Plugin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("npu_agent.simulator.allocation.PRE_START_TIMEOUT_S", 0.1)  # 30 at a real one
    caplog.set_level("INFO", "npu_agent.simulator")
    plugin.options = DevicePluginOptions(pre_start_required=True)
    await plugin.register()
    await kubelet.run_pod(pod("one"))
    plugin.may_answer.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(kubelet.restart_containers, "one")

        async def log() -> str:
            return caplog.text

        await eventually(log, lambda text: "PreStartContainer rpc failed with err: rpc error: code = DeadlineExceeded" in text)
        plugin.may_answer.set()


async def test_a_plugin_that_hangs_holds_up_every_other_pod(kubelet: SimulatedKubelet, plugin: Plugin) -> None:
    plugin.may_answer.clear()
    async with Plugin(kubelet.plugin_dir, "other.sock", resource="example.com/other", x=True) as other:
        await other.register()
        await shows(kubelet, 1, 1, resource="example.com/other")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(kubelet.run_pod, pod("stuck"))
            await plugin.allocate_called.wait()
            with anyio.move_on_after(0.1) as patience:
                await kubelet.run_pod(Pod("behind", (Container(devices={"example.com/other": 1}),)))
            assert patience.cancelled_caught
            assert other.calls_of("allocate") == []
            plugin.may_answer.set()
        await kubelet.run_pod(Pod("next", (Container(devices={"example.com/other": 1}),)))


async def test_the_pods_status_shows_a_failed_device_and_a_missing_one_as_well(kubelet: SimulatedKubelet, plugin: Plugin) -> None:
    await kubelet.run_pod(pod("all", 4))
    plugin.devices.set({"a": False, "b": True, "c": True})
    await shows(kubelet, 3, 2)
    assert kubelet.device_health("all") == {"a": "Unhealthy", "b": "Healthy", "c": "Healthy", "d": "Healthy"}


async def test_devices_that_failed_are_not_given(kubelet: SimulatedKubelet, plugin: Plugin) -> None:
    plugin.devices.set({"a": False, "b": True})
    await shows(kubelet, 2, 1)
    assert await refused(kubelet, pod("pair", 2)) == f"requested number of devices unavailable for {RESOURCE}. Requested: 2, Available: 1"
    plugin.devices.set({"a": False})
    await shows(kubelet, 1, 0)
    assert await refused(kubelet, pod("none")) == f"no healthy devices present; cannot allocate unhealthy devices {RESOURCE}"


def test_of_what_several_resources_give_a_container_the_first_of_each_key_wins() -> None:
    first = ContainerAllocateResponse(
        envs={"A": "1"}, annotations={"n": "1"}, devices=[DeviceSpec(container_path="/dev/x", host_path="/dev/1", permissions="rw")]
    )
    second = ContainerAllocateResponse(
        envs={"A": "2", "B": "2"},
        annotations={"n": "2"},
        devices=[DeviceSpec(container_path="/dev/x", host_path="/dev/2", permissions="rw")],
        mounts=[Mount(container_path="/m", host_path="/m")],
        cdi_devices=[CdiDevice(name="v/c=1")],
    )
    whole = merged([first, second])
    assert (whole.envs, whole.annotations) == ({"A": "1", "B": "2"}, {"n": "1"})
    assert [device.host_path for device in whole.devices] == ["/dev/1"]
    assert (len(whole.mounts), len(whole.cdi_devices)) == (1, 1)
