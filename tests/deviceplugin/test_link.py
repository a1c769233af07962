"""The link against the simulated kubelet: what each row of docs/kubelet.md, "What can happen to the link", comes to."""

import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from npu_agent.core.health import Health
from npu_agent.core.pool import Device, Pool
from npu_agent.core.registration import Registration
from npu_agent.deviceplugin import reconcile, socket
from npu_agent.deviceplugin.comparison import Ask
from npu_agent.deviceplugin.errors import FolderUnlinked
from npu_agent.deviceplugin.link import KubeletLink
from npu_agent.flow.current import Current
from npu_agent.host import watching
from npu_agent.host.watching import watch_folder
from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.faults import RegisterFault
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.deviceplugin.served import Host, denied

NPU = "furiosa.ai/npu"
WELL = Health(True, "", 0.0)
POOL = Pool(NPU, (Device("a", "a", WELL), Device("b", "b", WELL)))
ALL = Quantity(2, 2)


Told = Current[tuple[str, ...]]


async def until_told(told: Told, text: str) -> None:
    """Return when what is told last has `text` in it, or is empty."""
    with anyio.fail_after(5):
        async for texts in told.follow():
            if texts and (text in texts[-1] if text else not texts[-1]):
                return


@asynccontextmanager
async def linking(
    folder: Path, pool: Current[Pool] | None = None, *, told: Told | None = None, ask: Ask | None = None
) -> AsyncIterator[KubeletLink]:
    told = Told(()) if told is None else told
    link = KubeletLink(folder, pool or Current(POOL), Host(), tell=lambda text: told.set((*told.value, text)), ask=ask)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        tasks.start_soon(watch_folder, folder, link.ring, lambda _: None)
        yield link
        tasks.cancel_scope.cancel()


async def until(link: KubeletLink, holds: Callable[[Registration], bool]) -> Registration:
    with anyio.fail_after(5):
        async for registration in link.registration.follow():
            if holds(registration):
                return registration
    raise AssertionError


async def sees(kubelet: SimulatedKubelet, quantity: Quantity) -> None:
    with anyio.fail_after(5):
        await kubelet.until(lambda: kubelet.quantities().get(NPU) == quantity)


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


async def test_a_register_that_fails_is_tried_again_and_told_once(short_dir: Path) -> None:
    told = Told(())
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, told=told) as link:
        kubelet.faults.register.extend([RegisterFault(refuse_with="no space left on device")] * 2)
        await kubelet.start()
        failed = await until(link, lambda registration: "no space left on device" in registration.reason)
        assert failed.state == "waiting"
        await sees(kubelet, ALL)
        await until(link, lambda registration: registration.state == "registered")
    said = "not registered with kubelet: UNKNOWN: no space left on device"
    assert told.value[:2] == (said, "")


async def test_a_register_that_fails_after_kubelet_accepted_it_is_not_repeated(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir) as link:
        kubelet.faults.register.append(RegisterFault(refuse_with="transport is closing", after_acceptance=True))
        await kubelet.start()
        await sees(kubelet, ALL)
        first = (await until(link, lambda registration: registration.state == "registered")).endpoint
        await kubelet.restart()
        await sees(kubelet, ALL)
        assert link.registration.value.endpoint != first


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


async def test_a_folder_whose_path_is_too_long_for_a_socket_is_a_reason_and_no_crash(short_dir: Path) -> None:
    deep = short_dir / ("x" * (75 - len(str(short_dir))))
    async with SimulatedKubelet(deep) as kubelet, linking(kubelet.plugin_dir) as link:
        await kubelet.start()
        await until(link, lambda registration: "use a shorter --kubelet-dir" in registration.reason)


async def test_a_list_that_is_too_large_keeps_the_one_before_and_is_a_problem(short_dir: Path) -> None:
    pool = Current(POOL)
    crowd = replace(POOL, devices=tuple(Device(f"{number:0>63}", "a", WELL) for number in range(60_000)))
    told = Told(())
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, pool, told=told):
        await kubelet.start()
        await sees(kubelet, ALL)
        pool.set(crowd)
        await until_told(told, "60000 devices")
        assert kubelet.quantities()[NPU] == ALL
        pool.set(POOL)
        await until_told(told, "")


async def test_a_pool_that_is_too_large_from_the_start_is_registered_as_empty_with_the_problem_told(short_dir: Path) -> None:
    crowd = Current(replace(POOL, devices=tuple(Device(f"{number:0>63}", "a", WELL) for number in range(60_000))))
    told = Told(())
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, crowd, told=told):
        await kubelet.start()
        await sees(kubelet, Quantity(0, 0))
        await until_told(told, "60000 devices")


async def test_a_folder_that_becomes_read_only_is_told_once_and_costs_neither_the_agent_nor_its_end(
    short_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(())
    async with SimulatedKubelet(short_dir) as kubelet:
        await kubelet.start()
        async with linking(kubelet.plugin_dir, told=told):
            await sees(kubelet, ALL)
            with monkeypatch.context() as read_only:
                read_only.setattr(Path, "unlink", denied)
                read_only.setattr(socket, "bind_private", denied)
                await kubelet.cut_streams()
                await until_told(told, f"a socket of ours in {kubelet.plugin_dir} cannot be served: Read-only file system")
                await anyio.sleep(0.5)
                assert len([text for text in told.value if text]) == 1
            await sees(kubelet, ALL)
            await until_told(told, "")
            monkeypatch.setattr(Path, "unlink", denied)
        left = [record.getMessage() for record in caplog.records if "stays behind" in record.getMessage()]
        assert len(left) == 2  # one a socket: that of the cut stream, and that of the end
        assert "stays behind: Read-only file system" in left[-1]
        assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_a_socket_that_cannot_be_made_again_is_told_once_until_it_is(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(())
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, told=told) as link:
        await kubelet.start()
        registered = await until(link, lambda registration: registration.state == "registered")
        with monkeypatch.context() as full:
            full.setattr(socket, "bind_private", denied)
            (kubelet.plugin_dir / registered.endpoint).unlink()
            await until_told(told, f"our socket in {kubelet.plugin_dir} was removed and cannot be made again: Read-only file system")
            await anyio.sleep(0.5)
            assert len(told.value) == 1
        await until_told(told, "")
        assert (kubelet.plugin_dir / registered.endpoint).is_socket()
        assert kubelet.quantities()[NPU] == ALL


async def test_a_kubelet_that_keeps_dropping_us_is_told_of_once(short_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told = Told(())
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, told=told):
        await kubelet.start()
        for _ in range(reconcile.MANY_DROPS + 2):
            await sees(kubelet, ALL)
            await kubelet.cut_streams()
        await until_told(told, "kubelet ends our streams as soon as they begin")
        await sees(kubelet, ALL)
        await until_told(told, "")
        assert len(told.value) == 2
    ended = [record for record in caplog.records if getattr(record, "event", "") == "resource_stream_ended"]
    assert len([record for record in ended if record.levelno >= logging.INFO]) == reconcile.MANY_DROPS - 1


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


async def test_what_kubelet_refuses_with_is_made_printable(short_dir: Path) -> None:
    told = Told(())
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir, told=told):
        kubelet.faults.register.append(RegisterFault(refuse_with="no\x1b[31m\r\nERROR all is lost\u2028" + "x" * 5000))
        await kubelet.start()
        await until_told(told, r"UNKNOWN: no\x1b[31m\r\nERROR all is lost\u2028xxx")
        assert all(len(text) < 1200 and text.isprintable() for text in told.value)


async def test_what_happens_has_stable_names_and_fields(short_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with SimulatedKubelet(short_dir) as kubelet, linking(kubelet.plugin_dir) as link:
        await until(link, lambda registration: "not there" in registration.reason)
        await kubelet.start()
        await sees(kubelet, ALL)
        await kubelet.cut_streams()
        await until(link, lambda registration: registration.registrations == 2)
    said = [(record.event, sorted(record.fields)) for record in caplog.records if hasattr(record, "event")]  # type: ignore[attr-defined]
    assert said[0] == ("resource_waiting", ["reason", "resource"])
    assert ("resource_registered", ["devices", "endpoint", "resource"]) in said
    assert ("resource_stream_ended", ["resource"]) in said
