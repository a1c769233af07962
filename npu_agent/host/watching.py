"""Seeing that something changed in kubelet's folder, by inotify where the kernel lets us and by asking again where not."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import anyio
from asyncinotify import Inotify, Mask

POLL_S = 2.0
"""Seconds between two looks although nothing was seen: inotify can be exhausted, overflow, or be silent on some file systems."""

POLL_WITHOUT_INOTIFY_S = 0.5

_MASK = Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ATTRIB

Folders = dict[Path, tuple[int, int]]
"""Folders that are there, each with what tells it from another one at its path."""


async def watch_folder(folder: Path, ring: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Call `ring` whenever `folder` or what is in it may have changed, and every few seconds; never return.

    The folder need not be there: its nearest parent is watched until it comes. Its parent is watched too, so that a folder that is
    removed and made again is found. `tell` is called with what keeps it from being watched when that begins, and with an empty text
    when it ends.
    """
    told = ""

    def say(problem: str) -> None:
        nonlocal told
        if problem != told:
            told = problem
            tell(f"{problem}; it is looked at every {POLL_WITHOUT_INOTIFY_S:g} s instead" if problem else "")

    while True:
        try:
            with Inotify() as inotify:
                await _watch(inotify, folder, ring, say)
        except OSError as error:
            say(unwatchable_reason(error, folder))
            ring()
            await anyio.sleep(POLL_WITHOUT_INOTIFY_S)


def unwatchable_reason(error: OSError, path: Path) -> str:
    """Return why the folder at `path` cannot be watched, and what to do."""
    said = error.strerror or str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"watching {path} is denied to the user {os.geteuid()} ({said}); run the agent as root, or let it read and search the folder"
    if error.errno == errno.ENOTDIR:
        return f"{path} cannot be watched, as it or a part of its path is not a folder; remove what is there, or name another folder"
    if error.errno == errno.ELOOP:
        return f"{path} cannot be watched, as it is a link that leads to itself; remove it, or name another folder"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"inotify cannot be used for {path} ({said}); raise fs.inotify.max_user_instances, or the limit of open files of this process"
        )
    if error.errno == errno.ENOSPC:
        return f"inotify cannot be used for {path} ({said}); raise fs.inotify.max_user_watches"
    return f"{path} cannot be watched: {said}"


async def _watch(inotify: Inotify, folder: Path, ring: Callable[[], None], say: Callable[[str], None]) -> None:
    """Watch until the folders that are watched are not those at their paths any more, or until it is time to try again."""
    watched, problem = _look(folder)
    for path in watched:
        try:
            inotify.add_watch(path, _MASK | Mask.ONLYDIR)
        except FileNotFoundError:  # it went in this moment
            return
        except OSError as error:
            problem = problem or unwatchable_reason(error, path)
    say(problem)
    # What happened between the look and the watch is seen now.
    while _look(folder)[0] == watched:
        ring()
        with anyio.move_on_after(POLL_WITHOUT_INOTIFY_S if problem else POLL_S):
            await inotify.get()
        if problem:
            return


def _look(folder: Path) -> tuple[Folders, str]:
    """Return the folders to watch, `folder` and its parent or the nearest parents that there are, and what is wrong with `folder`."""
    found: Folders = {}
    problem = ""
    for path in (folder, *folder.parents):
        try:
            status = path.stat()
            if not stat.S_ISDIR(status.st_mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        except FileNotFoundError:
            continue
        except OSError as error:
            problem = problem or unwatchable_reason(error, path)
            continue
        found[path] = (status.st_dev, status.st_ino)
        if len(found) == 2:
            break
    return found, problem
