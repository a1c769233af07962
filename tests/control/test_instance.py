import os
from pathlib import Path

import anyio
import pytest

from npu_agent.control import instance
from npu_agent.control.instance import AlreadyRunning, RuntimeFolderUnusable, only_instance


async def test_a_second_agent_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    async with only_instance(tmp_path / "run", replace=False):
        with pytest.raises(AlreadyRunning, match=rf"process {os.getpid()}\b.*--replace"):
            async with only_instance(tmp_path / "run", replace=False):
                pass


async def test_the_lock_is_free_again_after_the_agent_ended(tmp_path: Path) -> None:
    for _ in range(2):
        async with only_instance(tmp_path, replace=False):
            pass


async def test_an_agent_that_does_not_answer_is_replaced_once_it_has_gone(tmp_path: Path) -> None:
    first_holds, first_may_end, second_holds = anyio.Event(), anyio.Event(), anyio.Event()

    async def first() -> None:
        async with only_instance(tmp_path, replace=False):
            first_holds.set()
            await first_may_end.wait()

    async def second() -> None:
        async with only_instance(tmp_path, replace=True):
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
    async with only_instance(tmp_path, replace=False):
        with pytest.raises(AlreadyRunning, match="did not end within"):
            async with only_instance(tmp_path, replace=True):
                pass


async def test_a_runtime_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeFolderUnusable, match=r"file/run cannot be used.*--runtime-dir"):
        async with only_instance(tmp_path / "file" / "run", replace=False):
            pass
