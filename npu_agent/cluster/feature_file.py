"""A feature file for the worker of Node Feature Discovery, which makes labels of its lines.

What a file may say: docs/usage/customization-guide.md of NFD, "local feature source". A file of more than 64 KiB is ignored as a whole.
"""

import contextlib
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread

from npu_agent.cluster.errors import FeatureFileUnwritable
from npu_agent.cluster.labels import Description, describe
from npu_agent.core.state import NodeState

NAME = "npu-agent"
EXPIRES_S = 300.0
"""After this the worker takes no label from it any more: a dead agent vouches for nothing."""

REFRESH_S = 120.0


class FeatureFile:
    """Writes the file in `folder`, which NFD's worker reads. A value that does not fit a label is left out; files have no annotations."""

    source = "NFD's feature file"
    look_again_s = REFRESH_S

    def __init__(self, folder: Path, prefix: str, *, date: Callable[[], float] = time.time) -> None:
        self._folder = folder
        self._prefix = prefix
        self._date = date

    def wanted(self, state: NodeState) -> Description:
        return describe(state.inventory, self._prefix)

    async def bring(self, wanted: Description) -> str:
        text = content(wanted, expires=self._date() + EXPIRES_S)
        try:
            await anyio.to_thread.run_sync(write, self._folder, text)
        except OSError as error:
            raise FeatureFileUnwritable(
                f"{self._folder / NAME} cannot be written: {error.strerror}; is NFD installed here, and its folder mounted?"
            ) from error
        return ""


def content(description: Description, *, expires: float) -> str:
    """Return the file that says `description` until `expires`, in seconds since the epoch."""
    until = datetime.fromtimestamp(expires, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = [f"# +expiry-time={until}", *(f"{key}={value}" for key, value in sorted(description.labels.items()))]
    return "\n".join(lines) + "\n"


def write(folder: Path, text: str) -> None:
    """Put the file there at once: the worker never sees half of it, and takes no file whose name begins with a dot."""
    hidden = folder / f".{NAME}"
    descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, 0o644)  # the worker is not root
        file.write(text)
    hidden.replace(folder / NAME)


def remove(folder: Path) -> bool:
    """Take the file away, and return whether there was one. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        (folder / f".{NAME}").unlink()
    try:
        (folder / NAME).unlink()
    except FileNotFoundError:
        return False
    return True
