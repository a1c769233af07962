import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from npu_agent.api.v1beta1 import (
    AllocateRequest,
    ContainerAllocateRequest,
    ContainerPreferredAllocationRequest,
    DevicePluginStub,
    Empty,
    PreferredAllocationRequest,
    PreStartContainerRequest,
)
from npu_agent.core.errors import AllocationError
from npu_agent.core.health import Health
from npu_agent.core.pool import Device, Pool
from npu_agent.deviceplugin import service
from npu_agent.deviceplugin.errors import OwnSocketBroken
from npu_agent.deviceplugin.lists import device_list
from npu_agent.deviceplugin.socket import remove_stale_sockets
from npu_agent.rpc.sockets import MAX_SOCKET_PATH
from tests.deviceplugin.served import POOL, WELL, Plugin, denied, serving


def allocation(*ids: str) -> AllocateRequest:
    return AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=list(ids))])


async def test_the_options_say_which_calls_are_taken(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, kubelet):
        options = await kubelet.get_device_plugin_options(Empty())
    assert options.get_preferred_allocation_available
    assert options.pre_start_required


async def test_a_list_is_sent_at_once_and_again_only_when_it_changed(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet):
        stream = kubelet.list_and_watch(Empty())
        first = await anext(stream)
        assert [(device.id, device.health) for device in first.devices] == [("a", "Healthy"), ("b", "Healthy"), ("c", "Healthy")]
        # The same devices with another reason are the same list to kubelet; one that is unhealthy is not.
        plugin.lists.set(device_list(replace(POOL, generation=5)))
        plugin.lists.set(device_list(replace(POOL, devices=(Device("a", "a", Health(False, "dead", 1.0)),))))
        second = await anext(stream)
        assert [(device.id, device.health) for device in second.devices] == [("a", "Unhealthy")]
        plugin.lists.set(None)
        with pytest.raises(StopAsyncIteration):  # the end comes with trailers, as an end and not as an error
            await anext(stream)


async def test_streams_and_connections_are_counted_as_they_come_and_go(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet):
        stream = kubelet.list_and_watch(Empty())
        await anext(stream)
        assert (plugin.socket.streams, plugin.socket.streams_seen) == (1, 1)
        assert plugin.socket.connections >= 1
        plugin.lists.set(None)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert (plugin.socket.streams, plugin.socket.streams_seen) == (0, 1)
        assert plugin.changes >= 3


async def test_an_allocation_has_the_nodes_mounts_and_variables_of_each_container(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, kubelet):
        request = AllocateRequest(
            container_requests=[ContainerAllocateRequest(device_ids=["a", "b"]), ContainerAllocateRequest(device_ids=["c"])]
        )
        both, one = (await kubelet.allocate(request)).container_responses
    assert [(spec.host_path, spec.container_path, spec.permissions) for spec in both.devices] == [
        ("/dev/a", "/dev/npu/a", "r"),
        ("/dev/b", "/dev/npu/b", "r"),
    ]
    assert [(mount.host_path, mount.container_path, mount.read_only) for mount in both.mounts] == [("/opt/npu", "/usr/lib/npu", True)]
    assert both.envs == {"NPU": "a,b"}
    assert one.envs == {"NPU": "c"}


@pytest.mark.parametrize(
    ("trouble", "ids", "status", "text"),
    [
        (None, ["ghost"], Status.NOT_FOUND, "furiosa.ai/npu has no device ghost any more; start the pod again"),
        (None, ["sick"], Status.FAILED_PRECONDITION, "device sick is unhealthy: alive reads 0; start the pod again"),
        (AllocationError("/dev/npu0 is not on the host"), ["a"], Status.FAILED_PRECONDITION, "/dev/npu0 is not on the host"),
    ],
)
async def test_an_allocation_that_cannot_be_made_says_what_to_do(
    tmp_path: Path, trouble: Exception | None, ids: list[str], status: Status, text: str
) -> None:
    async with serving(tmp_path) as (plugin, kubelet):
        plugin.pool.set(replace(POOL, devices=(*POOL.devices, Device("sick", "sick", Health(False, "alive reads 0", 0.0)))))
        plugin.host.trouble = trouble
        with pytest.raises(GRPCError) as caught:
            await kubelet.allocate(allocation(*ids))
    assert caught.value.status is status
    assert text in str(caught.value.message)


async def test_two_devices_of_one_card_are_refused_where_they_are_to_be_apart(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet):
        halves = tuple(Device(id, card, WELL) for id, card in (("a0", "a"), ("a1", "a"), ("b0", "b")))
        plugin.pool.set(Pool("furiosa.ai/npu", halves, "apart"))
        await kubelet.allocate(allocation("a0", "b0"))
        with pytest.raises(GRPCError, match=r"a0 and a1 are of one card, a, and furiosa\.ai/npu gives a container one of each") as caught:
            await kubelet.allocate(allocation("b0", "a0", "a1"))
        assert caught.value.status is Status.FAILED_PRECONDITION
        plugin.pool.set(Pool("furiosa.ai/npu", halves, "spread"))
        await kubelet.allocate(allocation("a0", "a1"))


async def test_a_question_for_more_than_there_can_be_gets_no_preference(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, kubelet):
        assert await preferred(kubelet, [f"d{n}" for n in range(service.SPARE_IDS)], 2) == ["d0", "d1"]
        assert await preferred(kubelet, [f"d{n}" for n in range(service.SPARE_IDS + 7)], 2) == []


async def test_calls_that_kubelet_waits_for_are_bounded_by_us(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "ALLOCATE_TIMEOUT_S", 0.05)
    monkeypatch.setattr(service, "PRE_START_TIMEOUT_S", 0.05)
    async with serving(tmp_path) as (plugin, kubelet):
        plugin.host.hangs = True
        for call in (kubelet.allocate(allocation("a")), kubelet.pre_start_container(PreStartContainerRequest(device_ids=["a"]))):
            with pytest.raises(GRPCError) as caught:
                await call
            assert caught.value.status is Status.DEADLINE_EXCEEDED
            assert "see npu-agent list" in str(caught.value.message)


async def test_a_container_start_is_prepared_or_refused_with_the_reason(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet):
        await kubelet.pre_start_container(PreStartContainerRequest(device_ids=["b", "a"]))
        assert plugin.host.prepared == ["b", "a"]
        plugin.host.trouble = AllocationError("the firmware is being loaded")
        with pytest.raises(GRPCError, match="the firmware is being loaded"):
            await kubelet.pre_start_container(PreStartContainerRequest(device_ids=["a"]))


async def preferred(kubelet: DevicePluginStub, available: list[str], size: int) -> list[str]:
    request = ContainerPreferredAllocationRequest(available_device_ids=available, allocation_size=size)
    answer = await kubelet.get_preferred_allocation(PreferredAllocationRequest(container_requests=[request]))
    return answer.container_responses[0].device_ids


async def test_a_preference_never_fails_even_if_finding_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: object) -> list[str]:
        raise ZeroDivisionError

    async with serving(tmp_path) as (_, kubelet):
        assert await preferred(kubelet, ["c", "b", "a"], 2) == ["a", "b"]
        monkeypatch.setattr(service, "prefer", broken)
        assert await preferred(kubelet, ["c", "b", "a"], 2) == ["c", "b"]


async def test_a_socket_file_that_was_removed_is_made_again_and_taken_away_at_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, _):
        plugin.socket.path.unlink()
        assert not plugin.socket.is_there()
        await plugin.socket.restore()
        assert plugin.socket.is_there()
        channel = Channel(path=str(plugin.socket.path))
        await DevicePluginStub(channel).get_device_plugin_options(Empty())
        channel.close()
    assert list(tmp_path.iterdir()) == []


async def test_a_file_of_somebody_else_in_our_place_is_left_alone(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, _):
        plugin.socket.path.unlink()
        plugin.socket.path.write_text("not ours")
    assert plugin.socket.path.read_text() == "not ours"


async def test_each_socket_has_a_name_of_its_own(tmp_path: Path) -> None:
    assert len({Plugin(tmp_path).socket.path for _ in range(20)}) == 20


async def test_a_path_that_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(OwnSocketBroken, match=f"longer than {MAX_SOCKET_PATH} bytes; use a shorter --kubelet-dir"):
        await Plugin(tmp_path / ("x" * 100)).socket.start()


async def test_a_socket_that_cannot_be_made_is_named(short_dir: Path) -> None:
    with pytest.raises(OwnSocketBroken, match="cannot be served"):
        await Plugin(short_dir / "missing").socket.start()


async def test_sockets_of_a_killed_agent_are_removed_and_living_ones_left(tmp_path: Path) -> None:
    import socket as sockets

    with sockets.socket(sockets.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "npu-agent-npu-dead.sock"))
    async with serving(tmp_path) as (plugin, _):
        remove_stale_sockets(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [plugin.socket.path.name]


async def test_a_socket_is_for_us_alone_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with serving(tmp_path) as (plugin, _):
            assert stat.S_IMODE(plugin.socket.path.stat().st_mode) == 0o600
            plugin.socket.path.unlink()
            await plugin.socket.restore()
            assert stat.S_IMODE(plugin.socket.path.stat().st_mode) == 0o600
    finally:
        os.umask(before)


def test_a_socket_whose_queue_is_full_is_left_alone_and_not_waited_for(short_dir: Path) -> None:
    import socket as sockets

    path = short_dir / "npu-agent-npu-full.sock"
    with sockets.socket(sockets.AF_UNIX) as listening, sockets.socket(sockets.AF_UNIX) as first:
        listening.bind(str(path))
        listening.listen(0)
        first.connect(str(path))
        remove_stale_sockets(short_dir)
    assert path.exists()


def test_a_file_that_is_called_like_a_socket_of_ours_is_left_alone(short_dir: Path) -> None:
    (short_dir / "npu-agent-file.sock").touch()
    os.mkfifo(short_dir / "npu-agent-fifo.sock")
    remove_stale_sockets(short_dir)
    assert len(list(short_dir.iterdir())) == 2
    remove_stale_sockets(short_dir / "missing")


def test_stale_sockets_that_cannot_be_removed_are_told_of_in_one_line(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import socket as sockets

    for name in ("one", "two"):
        with sockets.socket(sockets.AF_UNIX) as dead:
            dead.bind(str(short_dir / f"npu-agent-{name}.sock"))
    with monkeypatch.context() as read_only:
        read_only.setattr(Path, "unlink", denied)
        remove_stale_sockets(short_dir)
    (record,) = caplog.records
    assert record.getMessage() == f"2 sockets that an agent left behind stay in {short_dir}: Read-only file system"
