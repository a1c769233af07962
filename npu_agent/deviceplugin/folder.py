"""What is at the path of kubelet's folder of device plugins."""

import os
import stat
from pathlib import Path

from npu_agent.deviceplugin.reconcile import Folder


def identity(path: Path) -> tuple[int, int, int] | None:
    """Return what tells the file that is at `path` now from any other (device, inode, time of change), None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


def look_at_folder(path: Path) -> tuple[Folder, str]:
    """Return what is at the path of kubelet's folder, and why it cannot be used, if it cannot."""
    try:
        status = path.stat()
        if not stat.S_ISDIR(status.st_mode):
            return Folder.UNUSABLE, f"{path} is no folder; remove it, or name kubelet's folder by --kubelet-dir"
        (path / "kubelet.sock").stat()
    except FileNotFoundError as error:
        there = error.filename == str(path / "kubelet.sock")
        return (Folder.PRESENT if status.st_nlink else Folder.UNLINKED, "") if there else (Folder.MISSING, "")
    except PermissionError as error:
        return Folder.UNUSABLE, f"{error.filename} may not be looked at by user {os.geteuid()}; run the agent as the user of kubelet (root)"
    except OSError as error:
        return Folder.UNUSABLE, f"{error.filename} cannot be looked at: {error.strerror}; name kubelet's folder by --kubelet-dir"
    return (Folder.PRESENT if status.st_nlink else Folder.UNLINKED), ""
