"""Attributes of one card: which file of the host each is, and what it says.

All of it runs in threads of `bounded.Readers`, since a read is a call into a driver.
"""

import errno
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass

from npu_agent.core.text import natural
from npu_agent.families.attributes import ROOTS, Source, is_piece, piece, source_of, split_root
from npu_agent.families.texts import fill, placeholders
from npu_agent.host.files import as_text, entries, is_there, link_name, read_lines, read_text, resolve


@dataclass(frozen=True, slots=True)
class Place:
    """Where the attributes of a card are: through the host's root `prefix`, its entry's folder and that of its PCI function.

    `values` are what is filled into paths; what is not known is not among them.
    """

    prefix: str
    folder: str
    function: str
    values: Mapping[str, str]

    def path(self, attribute: str) -> str | None:
        """Return the path of an attribute on the host, None if something on the way is not known or not there. Raises OSError.

        Of what `*` can stand for it is the first in the order of names and numbers.
        """
        if any(name not in self.values for name in placeholders(attribute)):
            return None
        root, path = split_root(attribute)
        at = self.function if root == "pci" else ROOTS[root] if root else self.folder
        *folders, name = fill(path, self.values).split("/")
        for part in folders:
            found = self._one(at, part)
            if found is None:
                return None
            at = resolve(self.prefix, f"{at}/{found}")
        last = self._one(resolve(self.prefix, at) if root and not folders else at, name)
        return None if last is None else f"{at}/{last}"

    def first(self, attributes: tuple[str, ...]) -> tuple[str, str | None]:
        """Return the first of the attributes that is there and its path, else the first and where it would be. Raises OSError."""
        paths = [(attribute, self.path(attribute)) for attribute in attributes]
        there = (pair for pair in paths if pair[1] is not None and is_there(f"{self.prefix}{pair[1]}"))
        return paths[0] if len(paths) == 1 else next(there, paths[0])

    def value(self, said: str | Source) -> str | None:
        """Return what is said, None if it is not there. Raises OSError."""
        source = source_of(said)
        attribute, path = self.first(source.attribute)
        if path is None:
            return None
        try:
            text = read(self.prefix, path, source.after, source.pattern, is_found="*" in attribute)
        except FileNotFoundError:
            return None
        return f"{text} {source.unit}" if text and source.unit else text

    def _one(self, folder: str, name: str) -> str | None:
        before, star, after = name.partition("*")
        if not star:
            return name
        names = [own for own, _ in entries(f"{self.prefix}{folder}")]
        matching = (own for own in names if own.startswith(before) and own.endswith(after) and len(own) >= len(name) - 1)
        return min(matching, key=lambda own: natural(as_text(own)), default=None)


def read(prefix: str, path: str, after: str = "", pattern: str = "", *, is_found: bool = False) -> str | None:
    """Return the value in the file at `path` on the host, None if no line of it has one. Raises OSError.

    A link to a folder says the name of that, as sysfs tells of drivers and groups. A folder that `is_found` by a `*` says its own name.
    """
    try:
        if not is_piece(after, pattern):
            return read_text(f"{prefix}{path}")
        lines = read_lines(f"{prefix}{path}")
    except OSError as error:
        if error.errno == errno.ELOOP and stat.S_ISDIR(os.lstat(prefix + resolve(prefix, path)).st_mode):
            text = link_name(f"{prefix}{path}")
        elif is_found and error.errno == errno.EISDIR:
            text = as_text(path.rpartition("/")[2])
        else:
            raise
        return piece([text], after, pattern) if is_piece(after, pattern) else text
    return piece(lines, after, pattern)
