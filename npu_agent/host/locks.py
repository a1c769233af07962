"""Locks that say that one agent is there. The kernel lets go of them when their holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from npu_agent.host.errors import FolderUnusable
from npu_agent.host.private import PrivateFolder


class FileLock:
    """A lock file in the agent's own folder. Its content is the process of who holds it."""

    def __init__(self, folder: PrivateFolder, name: str) -> None:
        """Raises FolderUnusable."""
        self._file = folder.open_file(name, os.O_RDWR | os.O_CREAT)

    def take(self) -> bool:
        """Return whether the lock is ours now."""
        if not _flock(self._file):
            return False
        try:
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"process {os.getpid()}\n".encode(), 0)
        except OSError:  # on a full disk the lock holds all the same, and its holder is not told
            return True
        return True

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
        if self._descriptor is None:
            return False
        try:
            there = self.path.stat()
        except OSError:
            return False
        own = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)

    def take(self) -> bool:
        """Return whether the lock is ours now. Raises OSError if the folder cannot be opened."""
        if self.is_held():
            return True
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        if not _flock(descriptor):
            os.close(descriptor)
            return False
        self.close()
        self._descriptor = descriptor
        return True

    @property
    def holder(self) -> str:
        """Who holds it, for people, as the kernel tells."""
        try:
            inode = self.path.stat().st_ino
            lines = Path("/proc/locks").read_text().splitlines()
        except OSError:
            return "its process is not known"
        for line in lines:
            # "1: FLOCK  ADVISORY  WRITE 4711 00:1a:42 0 EOF"
            kind, *rest = line.split()[1:] or [""]
            if kind == "FLOCK" and len(rest) > 3 and rest[3].rpartition(":")[2] == str(inode) and rest[2].isdecimal() and int(rest[2]):
                return f"process {rest[2]}"
        return "its process is not seen from here"

    def close(self) -> None:
        """Let go of the lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise FolderUnusable(f"a lock cannot be taken: {error.strerror}; choose another folder with --runtime-dir") from error
    return True
