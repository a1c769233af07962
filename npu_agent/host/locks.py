"""Locks that say that one agent is there. The kernel lets go of them when their holder dies, however it dies."""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path

from npu_agent.host.errors import FolderUnusable
from npu_agent.host.private import PrivateFolder


class FileLock:
    """A lock file in the agent's own folder. Its content is the process of who holds it."""

    def __init__(self, folder: PrivateFolder, name: str) -> None:
        """Raises FolderUnusable."""
        self._path = folder.path / name
        self._file = folder.open_file(name, os.O_RDWR | os.O_CREAT)

    def take(self) -> bool:
        """Return whether the lock is ours now. Raises FolderUnusable."""
        try:
            if not _flock(self._file):
                return False
        except OSError as error:
            raise FolderUnusable(f"{self._path} cannot be locked: {error.strerror}; choose another folder with --runtime-dir") from error
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"process {os.getpid()}\n".encode(), 0)
        except OSError:  # on a full disk the lock holds all the same, and its holder is not told
            return True
        return True

    def is_there(self) -> bool:
        """Whether its file is still what is at its path: nobody else sees a lock on a file that was removed."""
        return _is_at(self._file, self._path, follow_symlinks=False)

    @property
    def holder(self) -> str:
        """Who holds it, for people."""
        text = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
        number = text.removeprefix("process ")
        return text if text.startswith("process ") and number.isdecimal() else "it has not said its process yet"

    def close(self) -> None:
        """Let go of the lock."""
        os.close(self._file)


class FolderLock:
    """The lock of a folder itself, without a file in it: kubelet removes every file of its folder when it starts, up to 1.32.

    It stays with the folder that it was taken on; `take` takes it on the one that is at the path now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def is_held(self) -> bool:
        """Whether it is held on the folder that is at the path now."""
        return self._descriptor is not None and _is_at(self._descriptor, self.path, follow_symlinks=True)

    def take(self) -> bool:
        """Return whether the lock is ours now. Raises OSError, with its filename if the folder cannot be opened."""
        if self.is_held():
            return True
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            is_ours = _flock(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        if not is_ours:
            os.close(descriptor)
            return False
        self.close()
        self._descriptor = descriptor
        return True

    @property
    def holder(self) -> str:
        """Who holds it, for people, as the kernel tells."""
        try:
            folder = self.path.stat()
            lines = Path("/proc/locks").read_text().splitlines()
        except OSError:
            return "its process is not known"
        process = holder_of(folder.st_dev, folder.st_ino, lines)
        return f"process {process}" if process else "its process is not seen from here"

    def close(self) -> None:
        """Let go of the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def holder_of(device: int, inode: int, lines: Iterable[str]) -> int:
    """Return the process that has locked a file, by the lines of /proc/locks; 0 if it is of another namespace, or there is none.

    Some file systems (btrfs, overlayfs) have another device in /proc/locks than in stat. Then the inode alone must do.
    """
    place = f"{os.major(device):02x}:{os.minor(device):02x}"
    on_this, on_any = 0, 0
    for line in lines:
        # "1: FLOCK  ADVISORY  WRITE 4711 00:1a:42 0 EOF"
        fields = line.split()
        if len(fields) > 5 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode) and fields[4].isdecimal():
            on_any = on_any or int(fields[4])
            if fields[5].rpartition(":")[0] == place:
                on_this = on_this or int(fields[4])
    return on_this or on_any


def _is_at(descriptor: int, path: Path, *, follow_symlinks: bool) -> bool:
    try:
        there = path.stat(follow_symlinks=follow_symlinks)
    except OSError:
        return False
    own = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
