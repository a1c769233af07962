import os
import shutil
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import anyio
import pytest

from npu_agent import instance
from npu_agent.host.errors import AlreadyRunning, FolderUnusable
from npu_agent.instance import Instance, only_instance
from npu_agent.rpc.sockets import bind_private


def alone(runtime_dir: Path, *, replace: bool) -> AbstractAsyncContextManager[Instance]:
    """Be the one agent of a folder; kubelet's folder is not there."""
    return only_instance(runtime_dir, runtime_dir / "kubelet", replace=replace)


async def test_a_second_agent_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    async with alone(tmp_path / "run", replace=False):
        with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}\b.*--replace"):
            async with alone(tmp_path / "run", replace=False):
                pass


async def test_the_lock_is_free_again_after_the_agent_ended(tmp_path: Path) -> None:
    for _ in range(2):
        async with alone(tmp_path, replace=False):
            pass


async def test_an_agent_that_does_not_answer_is_replaced_once_it_has_gone(tmp_path: Path) -> None:
    first_holds, first_may_end, second_holds = anyio.Event(), anyio.Event(), anyio.Event()

    async def first() -> None:
        async with alone(tmp_path, replace=False):
            first_holds.set()
            await first_may_end.wait()

    async def second() -> None:
        async with alone(tmp_path, replace=True):
            second_holds.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await first_holds.wait()
        tasks.start_soon(second)
        await anyio.lowlevel.checkpoint()
        assert not second_holds.is_set()
        first_may_end.set()
        with anyio.fail_after(5):
            await second_holds.wait()


async def test_an_agent_that_does_not_end_is_left_to_a_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "TAKE_OVER_WITHIN_S", 0.05)
    async with alone(tmp_path, replace=False):
        with pytest.raises(AlreadyRunning, match="does not answer, so it could not be asked to end; end it by hand"):
            async with alone(tmp_path, replace=True):
                pass


async def test_a_runtime_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FolderUnusable, match=r"file/run cannot be used.*--runtime-dir"):
        async with alone(tmp_path / "file" / "run", replace=False):
            pass


async def test_a_second_agent_of_one_kubelet_is_refused_whatever_its_own_folder(tmp_path: Path) -> None:
    kubelet = tmp_path / "device-plugins"
    kubelet.mkdir()
    async with only_instance(tmp_path / "one", kubelet, replace=False):
        with pytest.raises(
            AlreadyRunning, match=rf"another agent \(process {os.getpid()}\) serves .*device-plugins, with another .*--replace does not"
        ):
            async with only_instance(tmp_path / "two", kubelet, replace=False):
                pass
    async with only_instance(tmp_path / "two", kubelet, replace=False):
        pass


async def test_the_lock_of_kubelet_s_folder_outlives_all_files_in_it_and_is_taken_on_a_new_folder(tmp_path: Path) -> None:
    kubelet = tmp_path / "device-plugins"
    async with only_instance(tmp_path / "one", kubelet, replace=False) as first:
        assert not first.kubelet_lock.is_held()
        kubelet.mkdir()
        assert first.take_kubelet_folder() == ""
        assert first.kubelet_lock.is_held()
        assert list(kubelet.iterdir()) == []
        kubelet.rename(tmp_path / "old")
        kubelet.mkdir()
        assert not first.kubelet_lock.is_held()
        async with only_instance(tmp_path / "two", kubelet, replace=False):
            assert "another agent" in first.take_kubelet_folder()
        assert first.take_kubelet_folder() == ""


async def test_of_several_who_take_over_at_once_one_does_and_the_others_are_told_at_once(tmp_path: Path) -> None:
    holds, may_end = anyio.Event(), anyio.Event()
    told: list[str] = []
    ended: list[int] = []

    async def first() -> None:
        async with alone(tmp_path, replace=False):
            holds.set()
            await may_end.wait()

    async def next_one(number: int) -> None:
        try:
            async with alone(tmp_path, replace=True):
                ended.append(number)
        except AlreadyRunning as error:
            told.append(str(error))
            if len(told) == 5:
                may_end.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(first)
        await holds.wait()
        for number in range(6):
            tasks.start_soon(next_one, number)
    assert len(ended) == 1
    assert all("is taking over" in text for text in told)


@pytest.mark.parametrize("removed", ["the folder", "agent.lock", "agent.sock", "memory"])
async def test_what_is_removed_under_the_agent_is_made_again_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, removed: str
) -> None:
    monkeypatch.setattr(instance, "LOOK_AFTER_S", 0.01)
    runtime_dir = tmp_path / "run"
    looks = 0
    looked_twice = anyio.Event()
    problems: dict[str, str] = {}

    async def make_socket() -> None:
        bind_private(runtime_dir / "agent.sock").close()

    def tell(source: str, problem: str) -> None:
        nonlocal looks
        problems[source] = problem
        looks += 1
        if looks == 2:
            looked_twice.set()

    async with alone(runtime_dir, replace=False) as one, anyio.create_task_group() as tasks:
        await make_socket()
        await one.write("memory", b"kept")
        if removed == "the folder":
            shutil.rmtree(runtime_dir)
        else:
            (runtime_dir / removed).unlink()
        tasks.start_soon(one.look_after, make_socket, tell)
        with anyio.fail_after(5):
            await looked_twice.wait()
        assert (runtime_dir / "agent.sock").is_socket()
        assert (runtime_dir / "memory").read_bytes() == b"kept"
        with pytest.raises(AlreadyRunning):
            async with alone(runtime_dir, replace=False):
                pass
        tasks.cancel_scope.cancel()
    assert problems == {"runtime folder": ""}
    (said,) = caplog.messages
    assert (str(runtime_dir) if removed == "the folder" else removed) in said


async def test_what_an_agent_before_has_written_is_made_again_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instance, "LOOK_AFTER_S", 0.01)
    (tmp_path / "memory").write_bytes(b"of before")
    made = anyio.Event()

    async def make_socket() -> None:
        made.set()

    async with alone(tmp_path, replace=False) as one, anyio.create_task_group() as tasks:
        assert await one.read("memory", 100) == b"of before"
        (tmp_path / "memory").unlink()
        tasks.start_soon(one.look_after, make_socket, lambda source, problem: None)
        with anyio.fail_after(5):
            await made.wait()
        assert (tmp_path / "memory").read_bytes() == b"of before"
        tasks.cancel_scope.cancel()


async def test_a_folder_that_somebody_else_made_meanwhile_is_a_problem_and_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(instance, "LOOK_AFTER_S", 0.01)
    runtime_dir = tmp_path / "run"
    told: list[str] = []
    is_told = anyio.Event()

    def tell(source: str, problem: str) -> None:
        told.append(problem)
        is_told.set()

    async def make_socket() -> None:
        raise AssertionError("nothing is made in the folder of somebody else")

    async with alone(runtime_dir, replace=False) as one, anyio.create_task_group() as tasks:
        shutil.rmtree(runtime_dir)
        runtime_dir.mkdir()
        runtime_dir.chmod(0o777)
        tasks.start_soon(one.look_after, make_socket, tell)
        with anyio.fail_after(5):
            await is_told.wait()
        tasks.cancel_scope.cancel()
    assert "others may write to it (its mode is 0777)" in told[0]
    assert list(runtime_dir.iterdir()) == []


async def test_a_folder_whose_path_is_too_long_for_a_socket_is_named(tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="longer than 107 bytes; choose a shorter --runtime-dir"):
        async with alone(tmp_path / ("x" * 100), replace=False):
            pass


@pytest.mark.parametrize("what", ["pipe", "folder", "link", "hard link"])
async def test_what_is_no_lock_of_ours_is_refused_and_not_touched(tmp_path: Path, what: str) -> None:
    lock, victim = tmp_path / "run/agent.lock", tmp_path / "victim"
    lock.parent.mkdir()
    victim.write_text("dear")
    match what:
        case "pipe":
            os.mkfifo(lock)
        case "folder":
            lock.mkdir()
        case "link":
            lock.symlink_to(victim)
        case "hard link":
            lock.hardlink_to(victim)
    with pytest.raises(FolderUnusable, match=r"agent\.lock cannot be used"):
        async with alone(tmp_path / "run", replace=False):
            pass
    assert victim.read_text() == "dear"
