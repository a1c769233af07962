"""Reading family descriptions: those that ship, and those of an administrator's folder, with every mistake named at once."""

import os
from pathlib import Path

from npu_agent.families.contradictions import contradictions
from npu_agent.families.errors import FamilyError
from npu_agent.families.family import Family
from npu_agent.schema.errors import DocumentError
from npu_agent.schema.fields import read_what_is_right
from npu_agent.schema.mistakes import Mistake, shown

MAX_FILES = 256
"""Descriptions in one folder."""

MAX_FOLDER_BYTES = 1 << 20
"""All of them together. Those that ship have 3 KiB each."""

_SHIPPED = Path(__file__).parent


def parse(text: str, place: str) -> Family:
    """Return the family that `text` describes; `place` is the file that it came from. Raises FamilyError with every mistake."""
    from npu_agent.schema.document import parse  # YAML costs some milliseconds that a check of options need not pay

    try:
        document = parse(text)
    except DocumentError as error:
        raise FamilyError.at(place, [Mistake("", str(error))]) from error
    family, mistakes = read_what_is_right(document.data, Family)
    wrong = {mistake.path.partition(".")[0].partition("[")[0] for mistake in mistakes}
    if all(mistake.path for mistake in mistakes):  # else nothing of it could be read
        mistakes += contradictions(family, wrong)
    if mistakes:
        raise FamilyError.at(place, mistakes, document.lines)
    return family


def read_family(path: Path) -> Family:
    """Return the family in the file. Raises FamilyError, also for a file that cannot be read."""
    return parse(_text(path), str(path))


def shipped_names() -> list[str]:
    """Return the names of the families that ship, in order."""
    return sorted(path.stem for path in _SHIPPED.glob("*.yaml"))


def read_shipped(name: str) -> Family:
    """Return the family of this name that ships."""
    return read_family(_SHIPPED / f"{name}.yaml")


def read_folder(folder: str) -> dict[str, Family]:
    """Return the families in an administrator's folder, by name.

    Raises FamilyError with the mistakes in all of its files, and for a folder or a file that cannot be read.
    """
    families: dict[str, Family] = {}
    places: dict[str, Path] = {}
    errors: list[FamilyError] = []
    left = MAX_FOLDER_BYTES
    for path in _files(folder):
        try:
            text = _text(path)
            left -= len(text)
            if left < 0:
                raise FamilyError.at(folder, [Mistake("", f"its descriptions are larger than {MAX_FOLDER_BYTES >> 20} MiB together")])
            family = parse(text, str(path))
            if family.name in families:
                said = f"{places[family.name]} is named {shown(family.name)} already; a family has one file"
                raise FamilyError.at(str(path), [Mistake("name", said)])
            families[family.name], places[family.name] = family, path
        except FamilyError as error:
            errors.append(error)
            if left < 0:
                break
    if errors:
        raise FamilyError.joined(errors)
    return families


def _text(path: Path) -> str:
    from npu_agent.schema.document import read_text

    try:
        return read_text(path)
    except OSError as error:
        raise FamilyError.at(str(path), [Mistake("", f"cannot be read: {error.strerror}")]) from error
    except DocumentError as error:
        raise FamilyError.at(str(path), [Mistake("", str(error))]) from error


def _files(folder: str) -> list[Path]:
    names = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith((".yaml", ".yml")) and not entry.name.startswith("."):
                    names.append(entry.name)
                    if len(names) > MAX_FILES:
                        raise FamilyError.at(folder, [Mistake("", f"has more than {MAX_FILES} descriptions")])
    except OSError as error:
        raise FamilyError.at(folder, [Mistake("", f"cannot be read: {error.strerror}")]) from error
    except ValueError:
        raise FamilyError.at(folder, [Mistake("", "cannot be read: there is a NUL in its name")]) from None
    return [Path(folder, name) for name in sorted(names)]
