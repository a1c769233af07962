"""The link when something is wrong: what it tells, once, and that it heals."""

import logging
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from npu_agent.core.pool import Device
from npu_agent.deviceplugin import reconcile, socket
from npu_agent.flow.current import Current
from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.faults import RegisterFault
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.deviceplugin.links import ALL, NPU, POOL, WELL, Told, linking, sees, until, until_told
from tests.deviceplugin.served import denied


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
