"""Who holds a lock, by the lines of /proc/locks."""

import errno
import fcntl
import os
from pathlib import Path
from typing import NoReturn

import pytest

from npu_agent.host.errors import FolderUnusable
from npu_agent.host.locks import FileLock, FolderLock, holder_of
from npu_agent.host.private import PrivateFolder

LINES = [
    "1: POSIX  ADVISORY  WRITE 11 00:1a:42 0 EOF",
    "2: FLOCK  ADVISORY  WRITE 12 00:1b:42 0 EOF",
    "2: -> FLOCK  ADVISORY  WRITE 13 00:1a:42 0 EOF",
    "3: FLOCK  ADVISORY  WRITE 14 00:1a:42 0 EOF",
    "4: FLOCK  ADVISORY  WRITE 15 00:1a:4242 0 EOF",
    "5: FLOCK  ADVISORY  WRITE 0 08:01:7 0 EOF",
    "torn",
    "",
]


@pytest.mark.parametrize(
    ("device", "inode", "process"),
    [
        (os.makedev(0, 0x1A), 42, 14),
        (os.makedev(0, 0x1B), 42, 12),
        (os.makedev(0, 0x1A), 4242, 15),
        # a file system that has another device in stat than in /proc/locks
        (os.makedev(0, 0x30), 4242, 15),
        # a process of another namespace
        (os.makedev(8, 1), 7, 0),
        (os.makedev(8, 1), 8, 0),
    ],
)
def test_the_holder_is_the_process_that_has_locked_this_file_and_no_other_of_that_inode(device: int, inode: int, process: int) -> None:
    assert holder_of(device, inode, LINES) == process


def test_a_folder_is_locked_through_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    one, other = FolderLock(tmp_path / "link"), FolderLock(tmp_path / "real")
    assert one.take()
    assert one.is_held()
    assert not other.take()
    assert other.holder == f"process {os.getpid()}"
    one.close()
    assert other.take()
    other.close()


def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    folder = PrivateFolder.open(tmp_path)
    lock = FileLock(folder, "agent.lock")
    with pytest.raises(FolderUnusable, match=r"agent\.lock cannot be locked: No locks available; choose another folder"):
        lock.take()
    lock.close()
    folder.close()
