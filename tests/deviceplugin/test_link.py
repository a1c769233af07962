"""The link against the simulated kubelet: what each row of docs/kubelet.md, "What can happen to the link", comes to."""

import logging
import os
import shutil
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from npu_agent.core.health import Health
from npu_agent.core.pool import Device
from npu_agent.deviceplugin.errors import FolderUnlinked
from npu_agent.deviceplugin.link import KubeletLink
from npu_agent.flow.current import Current
from npu_agent.host import watching
from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.deviceplugin.links import ALL, NPU, POOL, WELL, linking, sees, until
from tests.deviceplugin.served import Host


async def test_a_kubelet_that_starts_later_gets_us_as_soon_as_its_folder_and_socket_are_there(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir / "k" / "k") as kubelet, linking(kubelet.plugin_dir) as link:
        waiting = await until(link, lambda registration: "not there" in registration.reason)
        assert waiting.state == "waiting"
        await kubelet.start()
        await sees(kubelet, ALL)
        assert (await until(link, lambda registration: registration.state == "registered")).registrations == 1


@pytest.mark.parametrize("same_inode", [False, True])
async def test_a_kubelet_that_restarts_gets_us_again(short_dir: Path, same_inode: bool) -> None:
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir):
        await kubelet.start()
        for _ in range(3):
            await sees(kubelet, ALL)
            await kubelet.restart(same_inode=same_inode)
        await sees(kubelet, ALL)


async def test_a_kubelet_that_restarts_twice_at_once_gets_us(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir):
        await kubelet.start()
        await sees(kubelet, ALL)
        await kubelet.restart()
        await kubelet.restart()
        await sees(kubelet, ALL)


async def test_a_socket_that_a_dead_kubelet_left_behind_is_no_error(short_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with SimulatedKubelet(short_dir) as kubelet:
        await kubelet.start()
        await kubelet.stop()
        async with linking(kubelet.plugin_dir) as link:
            await until(link, lambda registration: "nobody answers on" in registration.reason)
            await kubelet.start()
            await sees(kubelet, ALL)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
    assert len([record for record in caplog.records if "nobody answers on" in record.getMessage()]) == 1


async def test_a_stream_that_kubelet_drops_is_registered_again_though_both_sockets_stay(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir) as link:
        await kubelet.start()
        await sees(kubelet, ALL)
        await kubelet.cut_streams()
        await until(link, lambda registration: registration.registrations == 2)
        await sees(kubelet, ALL)


async def test_a_socket_file_of_ours_that_is_removed_comes_back_and_kubelet_notices_nothing(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir) as link:
        await kubelet.start()
        registered = await until(link, lambda registration: registration.state == "registered")
        path = kubelet.plugin_dir / registered.endpoint
        path.unlink()
        with anyio.fail_after(5):
            while not path.exists():
                await anyio.lowlevel.checkpoint()
        assert kubelet.quantities()[NPU] == ALL
        assert link.registration.value.registrations == 1


async def test_a_folder_that_is_removed_and_made_again_is_found(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir):
        await kubelet.start()
        await sees(kubelet, ALL)
        await kubelet.stop()
        shutil.rmtree(kubelet.plugin_dir)
        await kubelet.start()
        await sees(kubelet, ALL)


async def test_a_folder_that_was_deleted_below_our_mount_ends_the_agent_with_a_message(short_dir: Path) -> None:
    plugins = short_dir / "device-plugins"
    plugins.mkdir()
    descriptor = os.open(plugins, os.O_PATH)
    try:
        plugins.rmdir()
        # As with a bind mount, the path still leads to the folder that is deleted.
        with pytest.raises(FolderUnlinked, match="restart this container"):
            with anyio.fail_after(5):
                await KubeletLink(Path(f"/proc/self/fd/{descriptor}"), Current(POOL), Host(), tell=lambda text: None, ask=None).run()
    finally:
        os.close(descriptor)


async def test_a_kubelet_without_inotify_is_found_by_looking(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted() -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(watching, "Inotify", exhausted)
    monkeypatch.setattr(watching, "POLL_WITHOUT_INOTIFY_S", 0.02)
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir):
        await kubelet.start()
        await sees(kubelet, ALL)
        await kubelet.restart()
        await sees(kubelet, ALL)


async def test_the_end_of_the_agent_is_seen_at_once_and_leaves_no_socket(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir) as kubelet:
        await kubelet.start()
        async with linking(kubelet.plugin_dir):
            await sees(kubelet, ALL)
        await sees(kubelet, Quantity(2, 0))
        assert [path.name for path in kubelet.plugin_dir.glob("npu-agent-*")] == []


async def test_a_change_of_the_pool_reaches_kubelet(short_dir: Path) -> None:
    pool = Current(POOL)
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, pool):
        await kubelet.start()
        await sees(kubelet, ALL)
        pool.set(replace(POOL, devices=(Device("a", "a", WELL), Device("b", "b", Health(False, "too hot", 1.0)))))
        await sees(kubelet, Quantity(2, 1))
        pool.set(replace(POOL, devices=()))
        await sees(kubelet, Quantity(0, 0))


async def test_a_resource_that_goes_and_comes_at_once_is_registered_again(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir) as kubelet:
        await kubelet.start()
        for _ in range(3):
            async with linking(kubelet.plugin_dir):
                await sees(kubelet, ALL)
            assert list(kubelet.plugin_dir.glob("npu-agent-*")) == []


async def test_a_link_can_be_run_again_after_its_end(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir) as kubelet:
        await kubelet.start()
        link = KubeletLink(kubelet.plugin_dir, Current(POOL), Host(), tell=lambda text: None, ask=None)
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(link.run)
                await sees(kubelet, ALL)
                await until(link, lambda registration: registration.state == "registered")
                tasks.cancel_scope.cancel()
            assert link.registration.value.state == "stopped"


async def test_options_that_change_are_told_by_another_registration(short_dir: Path) -> None:
    pool = Current(POOL)
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, pool) as link:
        await kubelet.start()
        await until(link, lambda registration: registration.state == "registered")
        pool.set(replace(POOL, pre_start=True))
        await until(link, lambda registration: registration.registrations == 2)
        await sees(kubelet, ALL)
