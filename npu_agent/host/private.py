"""A folder of ours alone, and small files in it: nothing that others may have made there is believed, followed or written to."""

import errno
import os
import stat
from pathlib import Path

from npu_agent.host.errors import FolderUnusable

MOST_LINKS = 1
"""Names that a file of ours may have: another one could lie where its owner is not us."""

DENIALS = frozenset({errno.EACCES, errno.EPERM})
REMEDIES = {
    errno.ENOSPC: "make room: bytes and inodes are told alike",
    errno.EDQUOT: "make room, or raise the quota",
    errno.EROFS: "mount it so that it can be written to",
    errno.EACCES: "run as its owner, or give the right to",
    errno.EPERM: "run as its owner, or give the right to",
}
"""What helps against errors that no other file in the same place would be spared."""


class PrivateFolder:
    """A folder that is open. Files are reached from it and never by its path, so whoever replaces the path changes nothing here."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> "PrivateFolder":
        """Open the folder, and make it where it is not there: 0700, and parents that we make 0755, whatever the umask.

        Raises FolderUnusable if it is not ours alone: another owner, a link, or a folder that others may write, and likewise for its
        parents, except that others may write where the sticky bit keeps them from what is ours (/tmp).
        """
        try:
            _make(path)
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise FolderUnusable(f"{path} cannot be used: {_why(error, path)}; choose another folder with --runtime-dir") from error
        try:
            if wrong := _wrong(os.fstat(descriptor)) or _wrong_parent(path):
                raise FolderUnusable(f"{path} cannot be used: {wrong}; choose another folder with --runtime-dir, or have that put right")
        except OSError as error:
            os.close(descriptor)
            raise FolderUnusable(f"{path} cannot be used: {error.strerror}") from error
        except FolderUnusable:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def close(self) -> None:
        """Close the folder. It stays where it is."""
        os.close(self._descriptor)

    def is_there(self) -> bool:
        """Whether the folder is still what is at its path."""
        try:
            there = os.lstat(self.path)
        except OSError:
            return False
        own = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino)

    def open_file(self, name: str, flags: int) -> int:
        """Return the descriptor of a plain file of ours. Raises FolderUnusable for anything else of that name, and FileNotFoundError."""
        place = self.path / name
        try:
            # Without waiting: the open of a pipe would wait for its other end.
            descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o600, dir_fd=self._descriptor)
        except FileNotFoundError:
            raise
        except OSError as error:
            remedy = "" if error.errno in REMEDIES else "remove it, or "
            raise FolderUnusable(
                f"{place} cannot be used: {_why(error, place)}; {remedy}choose another folder with --runtime-dir"
            ) from error
        status = os.fstat(descriptor)
        wrong = "it is no plain file" if not stat.S_ISREG(status.st_mode) else _wrong(status)
        if not wrong and status.st_nlink > MOST_LINKS:
            wrong = "it has another name too (a hard link)"
        if wrong:
            os.close(descriptor)
            raise FolderUnusable(f"{place} cannot be used: {wrong}; remove it, or choose another folder with --runtime-dir")
        return descriptor

    async def read(self, name: str, most_bytes: int) -> bytes | None:
        """Return the content of a file, None if there is none. Raises FolderUnusable, also for a file that is larger."""
        import aiofiles  # it costs some milliseconds, which the first list need not wait for

        try:
            async with aiofiles.open(name, "rb", opener=self.open_file) as file:
                content: bytes = await file.read(most_bytes + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise FolderUnusable(f"{self.path / name} cannot be read: {_why(error, self.path / name)}") from error
        if len(content) > most_bytes:
            raise FolderUnusable(f"{self.path / name} is larger than {most_bytes} bytes; remove it")
        return content

    async def write(self, name: str, content: bytes) -> None:
        """Replace the content of a file, whole or not at all. Raises FolderUnusable."""
        import aiofiles

        fresh = f".{name}.{os.urandom(4).hex()}"
        try:
            async with aiofiles.open(
                fresh, "wb", opener=lambda path, _: self.open_file(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            ) as file:
                await file.write(content)
            os.replace(fresh, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException as error:
            self._forget(fresh)
            if not isinstance(error, OSError):
                raise
            raise FolderUnusable(f"{self.path / name} cannot be written: {_why(error, self.path / name)}") from error

    def _forget(self, name: str) -> None:
        try:
            os.unlink(name, dir_fd=self._descriptor)
        except OSError:
            return


def _why(error: OSError, path: Path) -> str:
    """Return what is wrong at `path`, to whom, and what would help, where the error says that."""
    if path.is_symlink():
        return "it is a link"
    what = error.strerror or str(error)
    if error.errno in DENIALS:
        what += f" for user {os.geteuid()}"
    remedy = REMEDIES.get(error.errno or 0)
    return f"{what} ({remedy})" if remedy else what


def _make(path: Path) -> None:
    if path.is_symlink() or path.is_dir():
        return
    missing = [path]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue
        if folder != path:
            folder.chmod(0o755)


def _wrong(status: os.stat_result) -> str:
    if status.st_uid != os.geteuid():
        return f"it belongs to user {status.st_uid}, and this is user {os.geteuid()}"
    if status.st_mode & 0o022:
        return f"others may write to it (its mode is {stat.S_IMODE(status.st_mode):04o})"
    return ""


def _wrong_parent(path: Path) -> str:
    for folder in Path(os.path.realpath(path)).parents:
        status = folder.stat()
        if status.st_uid not in (0, os.geteuid()):
            return f"{folder} above it belongs to user {status.st_uid}"
        if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
            return f"others may write to {folder} above it (its mode is {stat.S_IMODE(status.st_mode):04o})"
    return ""
