"""Seeing that something changed in kubelet's folder, by inotify where the kernel lets us and by asking again where not."""

import logging
from collections.abc import Callable
from pathlib import Path

import anyio
from asyncinotify import Inotify, Mask

POLL_S = 2.0
"""Seconds between two looks although nothing was seen: inotify can be exhausted, overflow, or be silent on some file systems."""

POLL_WITHOUT_INOTIFY_S = 0.5

_MASK = Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.DELETE_SELF | Mask.MOVE_SELF | Mask.ATTRIB

log = logging.getLogger(__name__)


async def watch_folder(folder: Path, ring: Callable[[], None]) -> None:
    """Call `ring` whenever `folder` or what is in it may have changed, and every few seconds; never return.

    The folder need not be there: its nearest parent is watched until it comes. Its parent is watched too, so that a folder that is
    removed and made again is found.
    """
    told = False
    while True:
        try:
            with Inotify() as inotify:
                told = False
                await _watch(inotify, folder, ring)
        except OSError as error:
            if not told:
                log.warning(
                    "inotify cannot be used (%s); looking at %s every %g s instead. Raise fs.inotify.max_user_instances and"
                    " fs.inotify.max_user_watches",
                    error.strerror or error,
                    folder,
                    POLL_WITHOUT_INOTIFY_S,
                )
                told = True
            ring()
            await anyio.sleep(POLL_WITHOUT_INOTIFY_S)


async def _watch(inotify: Inotify, folder: Path, ring: Callable[[], None]) -> None:
    """Watch until the folders that are watched are not those at their paths any more."""
    watched = _folders(folder)
    for path in watched:
        inotify.add_watch(path, _MASK | Mask.ONLYDIR)
    # What happened between the look and the watch is seen now.
    while _folders(folder) == watched:
        ring()
        with anyio.move_on_after(POLL_S):
            await inotify.get()


def _folders(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return the folders to watch with their identities: `folder` and its parent, or the nearest parents that there are."""
    found: dict[Path, tuple[int, int]] = {}
    for path in (folder, *folder.parents):
        try:
            status = path.stat()
        except OSError:
            continue
        found[path] = (status.st_dev, status.st_ino)
        if len(found) == 2:
            break
    return found
