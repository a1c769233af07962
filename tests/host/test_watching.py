"""Folders that are watched: what is seen of them, and what is said where they cannot be."""

import errno
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from asyncinotify import Inotify, Mask

from npu_agent.host import watching
from npu_agent.host.watching import unwatchable_reason, watch_folder

PATH = Path("/var/lib/kubelet/device-plugins")


class Watcher:
    """What a watch rings for and tells."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._changed = anyio.Event()

    def ring(self) -> None:
        self._changed.set()

    def tell(self, text: str) -> None:
        self.told.append(text)
        self._changed.set()

    async def until(self, holds: Callable[[], bool]) -> None:
        with anyio.fail_after(5):
            while not holds():
                await self._changed.wait()
                self._changed = anyio.Event()

    async def rings(self) -> None:
        """Wait for the next time that it rings."""
        self._changed = anyio.Event()
        with anyio.fail_after(5):
            await self._changed.wait()


@asynccontextmanager
async def watched(folder: Path) -> AsyncIterator[Watcher]:
    watcher = Watcher()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch_folder, folder, watcher.ring, watcher.tell)
        yield watcher
        tasks.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is seen is seen by inotify and not by looking again."""
    monkeypatch.setattr(watching, "POLL_S", 60.0)
    monkeypatch.setattr(watching, "POLL_WITHOUT_INOTIFY_S", 0.02)


async def test_what_comes_and_goes_in_a_folder_is_seen(tmp_path: Path) -> None:
    async with watched(tmp_path) as watcher:
        await watcher.rings()
        (tmp_path / "socket").touch()
        await watcher.rings()
        (tmp_path / "socket").unlink()
        await watcher.rings()
    assert watcher.told == []


async def test_a_folder_that_is_not_there_is_waited_for_and_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / "kubelet/device-plugins"
    async with watched(folder) as watcher:
        await watcher.rings()
        folder.mkdir(parents=True)
        await watcher.rings()
        (folder / "socket").touch()
        await watcher.rings()
    assert watcher.told == []


async def test_a_file_in_the_place_of_the_folder_is_told_once_and_that_it_is_gone_too(tmp_path: Path) -> None:
    folder = tmp_path / "device-plugins"
    folder.touch()
    async with watched(folder) as watcher:
        await watcher.until(lambda: bool(watcher.told))
        for _ in range(3):
            await watcher.rings()
        folder.unlink()
        folder.mkdir()
        await watcher.until(lambda: watcher.told[-1] == "")
    begun, ended = watcher.told
    assert begun == (
        f"{folder} cannot be watched, as it or a part of its path is not a folder; remove what is there, or name another folder;"
        " it is looked at every 0.02 s instead"
    )
    assert ended == ""


async def test_a_loop_of_links_is_told_as_what_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "device-plugins"
    folder.symlink_to(folder)
    async with watched(folder) as watcher:
        await watcher.until(lambda: bool(watcher.told))
    assert "is a link that leads to itself" in watcher.told[0]


async def test_a_limit_of_inotify_is_told_once_and_over_when_it_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(watching, "Inotify", exhausted)
    async with watched(tmp_path) as watcher:
        for _ in range(3):
            await watcher.rings()
        monkeypatch.setattr(watching, "Inotify", Inotify)
        await watcher.until(lambda: watcher.told[-1] == "")
    assert len(watcher.told) == 2
    assert "raise fs.inotify.max_user_instances" in watcher.told[0]


async def test_a_watch_that_is_refused_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_watch = Inotify.add_watch
    refused = True

    def full(inotify: Inotify, path: Path, mask: Mask) -> object:
        if refused:
            raise OSError(errno.ENOSPC, "No space left on device")
        return add_watch(inotify, path, mask)

    monkeypatch.setattr(Inotify, "add_watch", full)
    async with watched(tmp_path) as watcher:
        await watcher.until(lambda: bool(watcher.told))
        refused = False
        await watcher.until(lambda: watcher.told[-1] == "")
    assert "raise fs.inotify.max_user_watches" in watcher.told[0]


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, f"watching {PATH} is denied to the user {os.geteuid()} (Permission denied); run the agent as root"),
        (errno.EPERM, f"watching {PATH} is denied to the user {os.geteuid()} (Operation not permitted)"),
        (errno.ENFILE, "raise fs.inotify.max_user_instances, or the limit of open files"),
        (errno.EIO, f"{PATH} cannot be watched: Input/output error"),
    ],
)
def test_each_error_is_told_as_what_it_is(number: int, said: str) -> None:
    reason = unwatchable_reason(OSError(number, os.strerror(number)), PATH)
    assert said in reason
    assert ("inotify" in reason) == (number == errno.ENFILE)
