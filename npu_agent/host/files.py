"""Files of the host as a backend may read them: below the host's root whatever links say, never more than a bounded piece."""

import errno
import itertools
import os
from pathlib import Path

from npu_agent.host.errors import ShortOfResources, is_shortage

MAX_BYTES = 4096
"""An attribute of sysfs is one page at the most."""

MAX_CHARACTERS = 256
"""Longer texts are cut: nothing that identifies a card or tells its state is that long."""

MAX_ENTRIES = 16384
"""Entries of a folder that are looked at. A machine has some hundreds of PCI functions."""

_PADDING = b"\0 \t\r\n"

MAX_LINKS = 40
"""Symbolic links followed on the way to one path, as many as the kernel follows."""


MAX_LINES = 512
"""Lines of a file that are looked at."""


def read_text(path: str, *, wait: bool = True) -> str:
    """Return what the file says as one stripped, printable text of at most MAX_CHARACTERS characters.

    Drivers do not agree on a trailing newline, so none is taken for granted, and firmware fills its texts up with NULs. What is no
    text (wrong UTF-8, control characters) is replaced by "�", so that it equals nothing that a driver says. `path` itself must not be
    a link. Raises OSError and ShortOfResources.
    """
    text = as_text(_content(path, wait=wait).rstrip(_PADDING)).strip()
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}…"


def read_lines(path: str) -> list[str]:
    """Return the lines of the file, each stripped, printable and of at most MAX_CHARACTERS characters, otherwise as `read_text`.

    Of a file with more than MAX_BYTES or MAX_LINES the beginning counts; a tab in a line is a space.
    """
    lines = _content(path).replace(b"\t", b" ").rstrip(_PADDING).split(b"\n", MAX_LINES)[:MAX_LINES]
    return [as_text(line).strip()[:MAX_CHARACTERS] for line in lines]


def _content(path: str, *, wait: bool = True) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags if wait else flags | os.O_NONBLOCK)
        try:
            return os.read(descriptor, MAX_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise_if_short(error)
        raise


def as_text(name: str | bytes) -> str:
    """Return what the host says (a file's content, a name, where a link points) as printable text: what is no text becomes "�"."""
    text = (name if isinstance(name, bytes) else os.fsencode(name)).decode("utf-8", "replace")
    return text if text.isprintable() else "".join(character if character.isprintable() else "�" for character in text)


def raise_if_short(error: OSError) -> None:
    """Raise ShortOfResources where the error is one of our own limits, which nobody may take for a fault of what was looked at."""
    if is_shortage(error):
        raise ShortOfResources.of(error) from error


def is_there(path: str) -> bool:
    """Whether there is anything at the path, a link that leads nowhere included. Raises ShortOfResources."""
    try:
        os.lstat(path)
    except OSError as error:
        raise_if_short(error)
        return False
    return True


def entries(folder: str) -> list[tuple[str, int]]:
    """Return names and inode numbers of the entries of a folder, at most MAX_ENTRIES and in no order; none if it is not there.

    sysfs gives each new entry a new number, so a pair that stayed is an entry that stayed. A name is as the host has it, to be opened,
    and `as_text` makes it one to be told. Raises OSError and ShortOfResources.
    """
    try:
        with os.scandir(folder) as scan:
            return [(entry.name, entry.inode()) for entry in itertools.islice(scan, MAX_ENTRIES)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise_if_short(error)
        raise


def link_name(path: str) -> str:
    """Return the last part of where a link points, as text, empty if there is none. This is how sysfs names a function's driver.

    Raises ShortOfResources.
    """
    try:
        return as_text(os.readlink(path).rpartition("/")[2])  # noqa: PTH115 - asked for in every scan
    except OSError as error:
        raise_if_short(error)
        return ""


def below_root(root: Path) -> str:
    """Return `root` as a prefix for absolute paths of the host: empty for "/"."""
    return os.path.realpath(root).rstrip("/")


def resolve(prefix: str, path: str) -> str:
    """Return the absolute path on the host that `path` leads to, all links followed, without `prefix`.

    Links are followed as the host would: an absolute one begins at `prefix`, and ".." does not lead above it. A part that is not
    there ends the following. Raises OSError (ELOOP) for links without end, and ShortOfResources.
    """
    pending = list(reversed(path.split("/")))
    done: list[str] = []
    links = 0
    while pending:
        part = pending.pop()
        if part in ("", "."):
            continue
        if part == "..":
            del done[-1:]
            continue
        try:
            target = os.readlink("/".join((prefix, *done, part)))  # noqa: PTH115 - Path would normalise what the link says
        except OSError as error:  # no link, or nothing at all
            raise_if_short(error)
            done.append(part)
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done.clear()
        pending.extend(reversed(target.split("/")))
    return "/" + "/".join(done)
