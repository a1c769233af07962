"""What is to be seen in kubelet's folder of device plugins: kubelet's socket, what keeps us from it, and the sockets of others."""

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from npu_agent.deviceplugin.reconcile import Folder

KUBELET_SOCKET = "kubelet.sock"

_KINDS = {
    errno.EACCES: Folder.DENIED,
    errno.EPERM: Folder.DENIED,
    errno.ENOENT: Folder.MISSING,
    errno.ENOTDIR: Folder.NOT_A_FOLDER,
    errno.ELOOP: Folder.NOT_A_FOLDER,
}


@dataclass(frozen=True, slots=True)
class Seen:
    """The folder at one moment.

    `kubelet` identifies kubelet's socket file (device, inode, time of change), None if it is not seen. `obstacle` is a sentence for
    an administrator where something keeps us from seeing it, else empty: that kubelet has not started is no obstacle.
    """

    folder: Folder
    kubelet: tuple[int, int, int] | None = None
    obstacle: str = ""


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A socket in the folder. One that is removed and made again is another one."""

    name: str
    inode: int


def look(folder: Path) -> Seen:
    """Return what is there now."""
    try:
        status = folder.stat()
    except OSError as error:
        return _kept_from(folder, error)
    if not stat.S_ISDIR(status.st_mode):
        return Seen(Folder.NOT_A_FOLDER, obstacle=f"{folder} is not a folder; give the folder of kubelet by --kubelet-dir")
    if not status.st_nlink:
        return Seen(Folder.UNLINKED)
    path = folder / KUBELET_SOCKET
    try:
        status = path.stat()
    except FileNotFoundError:
        return Seen(Folder.PRESENT)
    except OSError as error:
        return _kept_from(path, error)
    if not stat.S_ISSOCK(status.st_mode):
        return Seen(Folder.PRESENT, obstacle=f"{path} is not a socket; remove it and restart kubelet")
    return Seen(Folder.PRESENT, _identity(status))


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return what tells the file that is at `path` now from any other (device, inode, time of change), None if there is none."""
    try:
        return _identity(path.stat())
    except OSError:
        return None


def denied(path: Path, error: OSError) -> str:
    """Return the sentence that says who may not use `path`, and what to do."""
    who = f"user {os.geteuid()}"
    return f"{path} cannot be reached by {who}: {error.strerror}; run the agent as root, or give {who} the right to"


def sockets_in(folder: Path) -> frozenset[SocketFile] | None:
    """Return the sockets in `folder` except kubelet's, None where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(
                SocketFile(entry.name, entry.inode())
                for entry in entries
                if entry.name != KUBELET_SOCKET and not entry.is_file(follow_symlinks=False) and stat.S_ISSOCK(_mode(entry))
            )
    except FileNotFoundError:
        return frozenset()
    except OSError:
        return None


def _identity(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_dev, status.st_ino, status.st_ctime_ns


def _mode(entry: "os.DirEntry[str]") -> int:
    try:
        return entry.stat(follow_symlinks=False).st_mode
    except OSError:  # it has gone meanwhile
        return 0


def _kept_from(path: Path, error: OSError) -> Seen:
    kind = _KINDS.get(error.errno or 0, Folder.UNREADABLE)
    if kind is Folder.MISSING:
        return Seen(kind)
    if kind is Folder.DENIED:
        return Seen(kind, obstacle=denied(path, error))
    if kind is Folder.NOT_A_FOLDER:
        return Seen(kind, obstacle=f"{path} cannot be kubelet's: {error.strerror}; give the folder of kubelet by --kubelet-dir")
    return Seen(kind, obstacle=f"{path} cannot be looked at: {error.strerror}; see what became of its file system")
