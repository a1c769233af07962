"""kubelet's folder of device plugins at kubelet's start: made if need be, and cleaned."""

import stat
from pathlib import Path

from npu_agent.simulator.checkpoint import FILE_NAME


def clean_folder(folder: Path, *, sockets_only: bool, keep: str | None = None) -> list[str]:
    """Make the folder, or remove what lies in it, and return the names that were removed.

    Folders below it stay, and the name `keep`. With `sockets_only` plain files stay too; without, only the checkpoint does.
    """
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    removed = []
    # Names are read before anything is removed: what comes under a new name meanwhile stays.
    for path in sorted(folder.iterdir()):
        if path.name != keep and _is_wiped(path, sockets_only=sockets_only):
            path.unlink(missing_ok=True)
            removed.append(path.name)
    return removed


def _is_wiped(path: Path, *, sockets_only: bool) -> bool:
    try:
        mode = path.stat().st_mode if sockets_only else path.lstat().st_mode
    except OSError:
        return False
    if sockets_only:
        return stat.S_ISSOCK(mode)
    return not stat.S_ISDIR(mode) and path.name != FILE_NAME
