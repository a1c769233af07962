"""A folder of the agent's own: nothing that others may have made is believed."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from npu_agent.host.errors import FolderUnusable
from npu_agent.host.private import PrivateFolder

SOMEBODY = 4711


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[PrivateFolder]:
    opened = PrivateFolder.open(tmp_path / "run")
    yield opened
    opened.close()


@pytest.fixture
def _no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_no_umask")
def test_what_is_made_is_ours_alone_whatever_the_umask(tmp_path: Path) -> None:
    PrivateFolder.open(tmp_path / "a/b/run").close()
    modes = {name: (tmp_path / name).stat().st_mode & 0o7777 for name in ("a", "a/b", "a/b/run")}
    assert modes == {"a": 0o755, "a/b": 0o755, "a/b/run": 0o700}


def test_a_folder_that_others_may_write_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run").chmod(0o777)
    with pytest.raises(FolderUnusable, match=r"run cannot be used: others may write to it \(its mode is 0777\)"):
        PrivateFolder.open(tmp_path / "run")


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", SOMEBODY, SOMEBODY)
    with pytest.raises(FolderUnusable, match=f"it belongs to user {SOMEBODY}, and this is user {os.geteuid()}"):
        PrivateFolder.open(tmp_path / "run")


def test_a_folder_below_one_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "theirs/run").mkdir(parents=True)
    os.chown(tmp_path / "theirs", SOMEBODY, SOMEBODY)
    with pytest.raises(FolderUnusable, match=f"theirs above it belongs to user {SOMEBODY}"):
        PrivateFolder.open(tmp_path / "theirs/run")


def test_a_folder_below_one_that_others_may_write_to_is_refused_unless_the_sticky_bit_keeps_them_out(tmp_path: Path) -> None:
    (tmp_path / "open/run").mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(FolderUnusable, match=r"others may write to .*open above it"):
        PrivateFolder.open(tmp_path / "open/run")
    (tmp_path / "open").chmod(0o1777)
    PrivateFolder.open(tmp_path / "open/run").close()


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "run").symlink_to("real")
    with pytest.raises(FolderUnusable, match="it is a link"):
        PrivateFolder.open(tmp_path / "run")


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(FolderUnusable, match=r"run cannot be used: (File exists|Not a directory); choose another folder"):
        PrivateFolder.open(tmp_path / "run")


async def test_what_is_written_is_read_and_leaves_nothing_beside_it(folder: PrivateFolder) -> None:
    assert await folder.read("memory", 10) is None
    await folder.write("memory", b"one")
    await folder.write("memory", b"two")
    assert await folder.read("memory", 10) == b"two"
    assert [path.name for path in folder.path.iterdir()] == ["memory"]
    assert (folder.path / "memory").stat().st_mode & 0o777 == 0o600


async def test_a_file_that_is_too_large_is_refused(folder: PrivateFolder) -> None:
    await folder.write("memory", b"x" * 11)
    with pytest.raises(FolderUnusable, match="is larger than 10 bytes"):
        await folder.read("memory", 10)


async def test_a_link_is_never_followed(folder: PrivateFolder, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("dear")
    (folder.path / "memory").symlink_to(victim)
    with pytest.raises(FolderUnusable, match="it is a link"):
        await folder.read("memory", 10)
    await folder.write("memory", b"new")
    assert victim.read_text() == "dear"
    assert await folder.read("memory", 10) == b"new"


async def test_a_pipe_is_refused_without_waiting_for_its_other_end(folder: PrivateFolder) -> None:
    os.mkfifo(folder.path / "memory")
    with pytest.raises(FolderUnusable, match="it is no plain file"):
        await folder.read("memory", 10)


async def test_a_folder_that_is_replaced_is_not_there_any_more(folder: PrivateFolder, tmp_path: Path) -> None:
    assert folder.is_there()
    folder.path.rename(tmp_path / "old")
    assert not folder.is_there()
    folder.path.mkdir()
    assert not folder.is_there()


async def test_a_folder_that_is_gone_cannot_be_written_and_says_so(folder: PrivateFolder) -> None:
    folder.path.rmdir()
    with pytest.raises(FolderUnusable, match="memory cannot be"):
        await folder.write("memory", b"x")


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.ENOSPC, r"No space left on device \(make room"),
        (errno.EROFS, r"Read-only file system \(mount it"),
        (errno.EACCES, rf"Permission denied for user {os.geteuid()} \(run as its owner"),
    ],
)
def test_what_is_refused_is_told_with_to_whom_and_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, told: str
) -> None:
    folder = PrivateFolder.open(tmp_path)

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FolderUnusable, match=rf"agent\.lock cannot be used: {told}[^;]*; choose another folder with --runtime-dir$"):
        folder.open_file("agent.lock", os.O_RDWR | os.O_CREAT)
    monkeypatch.undo()
    folder.close()
