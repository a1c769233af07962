"""The folder in which runtimes look for specs: our files in it, each there as a whole or not at all."""

import contextlib
import os
from pathlib import Path

import msgspec

from npu_agent.cdi.spec import PREFIX, Spec

MOST_BYTES = 8 * 1024 * 1024
"""Of a file of ours that is read back. 256 cards with 30 nodes each are half a MiB."""


def write(folder: Path, name: str, spec: Spec) -> bool:
    """Have the file say `spec`, and return whether it did not yet. The folder is made if need be: it lies on a tmpfs. Raises OSError.

    Runtimes notice a file that is renamed within the folder, and might read half of one that is written in place.
    """
    content = msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n"
    path = folder / name
    if _read(path) == content:
        return False
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = folder / f".{name}.{os.getpid()}"  # runtimes read no file that does not end with .json or .yaml
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o644)  # whoever runs containers may not be root
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        fresh.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    return True


def remove(folder: Path, name: str) -> None:
    """Take a file of ours away, if it is there. Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        (folder / name).unlink()


def ours(folder: Path) -> list[str]:
    """Return the names of the files of ours that are there. Raises OSError for a folder that cannot be read."""
    with contextlib.suppress(FileNotFoundError):
        return [name for name in os.listdir(folder) if name.startswith(PREFIX) and name.endswith(".json")]
    return []


def _read(path: Path) -> bytes | None:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file, contextlib.suppress(OSError):
        return file.read(MOST_BYTES + 1)
    return None
