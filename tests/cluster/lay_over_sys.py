"""Mounts a folder on /sys with all that /sys has and the folder has not: `lay_over_sys.py FOLDER`, in a mount namespace of its own."""

import os
import sys
from pathlib import Path


def lay_over_sys(tree: Path) -> None:
    _add(Path("/sys"), tree)
    _mount("--rbind", str(tree), "/sys")


def _add(real: Path, tree: Path) -> None:
    for entry in real.iterdir():
        ours = tree / entry.name
        if ours.is_symlink() or (ours.exists() and not ours.is_dir()):
            continue
        if ours.is_dir():
            if not entry.is_symlink():
                _add(entry, ours)
        elif entry.is_symlink():
            ours.symlink_to(entry.readlink())
        elif entry.is_dir():
            ours.mkdir()
            _mount("--rbind", str(entry), str(ours))


def _mount(*arguments: str) -> None:
    if os.spawnvp(os.P_WAIT, "mount", ("mount", *arguments)) != 0:
        sys.exit(f"mount {' '.join(arguments)} failed")


if __name__ == "__main__":
    lay_over_sys(Path(sys.argv[1]))
