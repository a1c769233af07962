"""Device nodes as they are on the host: the one rule by which a node may be handed to a container."""

import os
import stat
from dataclasses import dataclass

from npu_agent.core.accelerator import DeviceNode
from npu_agent.host.files import as_text, raise_if_short, resolve

_MEMORY = 1
"""The major number of the kernel's memory devices."""

_HARMLESS = frozenset({3, 5, 7, 8, 9})
"""Of those: null, zero, full, random, urandom. The others are the machine's memory, ports and log."""


@dataclass(frozen=True, slots=True)
class SeenNode:
    """What is at the path of a node: the path of the device itself, all links followed, and why it cannot be handed out, if it cannot."""

    path: str
    wrong: str = ""


Folders = dict[str, str]
"""Folders of the host by what they are called, each as the folder that it leads to: nodes that are looked at together share theirs."""


def look_at(prefix: str, node: DeviceNode, *, allow_plain_files: bool = False, folders: Folders | None = None) -> SeenNode:
    """Return what there is of `node` on the host whose root is at `prefix`.

    Links are followed as the host would, and never out of it. What they end at must be a character device, of the driver's major
    number where that is known, and none of those that open the machine itself. `allow_plain_files` is for test beds that cannot make
    device nodes. It stats files, so it is for a thread. Raises ShortOfResources.
    """
    try:
        path, status = _final(prefix, node.host_path, {} if folders is None else folders)
    except FileNotFoundError:
        return SeenNode(node.host_path, "is not on the host")
    except OSError as error:
        raise_if_short(error)
        return SeenNode(node.host_path, f"cannot be looked at: {error.strerror}")
    if not path.isprintable():  # it could not be told to kubelet
        return SeenNode(node.host_path, f"leads to {as_text(path)}, which is no text")
    via = "" if path == node.host_path else f" (it leads to {path})"
    if stat.S_ISREG(status.st_mode) and allow_plain_files:
        return SeenNode(path)
    if not stat.S_ISCHR(status.st_mode):
        return SeenNode(path, f"is {_kind(status.st_mode)} and no character device{via}")
    major, minor = os.major(status.st_rdev), os.minor(status.st_rdev)
    if major == _MEMORY and minor in _HARMLESS:
        return SeenNode(path)  # null stands for a device where nobody has one, and does no harm where somebody has
    if node.major and major != node.major:
        return SeenNode(path, f"is device {major}:{minor}, and its driver's are {node.major}:*{via}")
    if major == _MEMORY:
        return SeenNode(path, f"is device {major}:{minor}, which opens the machine itself{via}")
    return SeenNode(path)


def _final(prefix: str, path: str, folders: Folders) -> tuple[str, os.stat_result]:
    """Return what `path` leads to, and its status. Raises OSError."""
    folder, _, name = path.rpartition("/")
    if name not in ("", ".", ".."):
        if folder not in folders:
            folders[folder] = resolve(prefix, folder).rstrip("/")
        path = f"{folders[folder]}/{name}"
        status = os.lstat(prefix + path)
        if not stat.S_ISLNK(status.st_mode):
            return path, status
    path = resolve(prefix, path)
    return path, os.lstat(prefix + path)


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFREG: "a plain file",
        stat.S_IFDIR: "a folder",
        stat.S_IFBLK: "a block device",
        stat.S_IFIFO: "a pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFLNK: "a link that leads nowhere",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")
