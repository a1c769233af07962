"""Reading a configuration from its file, with every mistake named at once."""

import os
import sys
from collections.abc import Iterator

from npu_agent.config.configuration import Configuration, Origin, Settings
from npu_agent.config.errors import ConfigurationError
from npu_agent.core.selection import ANYTHING
from npu_agent.schema.errors import DocumentError
from npu_agent.schema.fields import read_what_is_right
from npu_agent.schema.mistakes import Mistake, shown

STANDARD_INPUT = "-"


async def load(path: str | os.PathLike[str]) -> Configuration:
    """Return the configuration in the file at `path`, or on standard input for "-".

    Raises ConfigurationError, also for a file that cannot be read.
    """
    place = os.fspath(path)
    if place == STANDARD_INPUT:
        place = "standard input"
    try:
        text = await _text(path)
    except OSError as error:
        raise ConfigurationError(place, [Mistake("", f"cannot be read: {error.strerror}")]) from error
    except DocumentError as error:
        raise ConfigurationError(place, [Mistake("", str(error))]) from error
    return parse(text, place)


def parse(text: str, place: str) -> Configuration:
    """Return the configuration in `text`, which was read from `place`. Raises ConfigurationError with all mistakes."""
    from npu_agent.schema.document import parse  # it costs 20 ms, which an agent without a file need not pay

    try:
        document = parse(text)
    except DocumentError as error:
        raise ConfigurationError(place, [Mistake("", str(error))]) from error
    settings, mistakes = read_what_is_right(document.data, Settings)
    mistakes += _same_names(settings)
    values = {name: getattr(settings, name) for name in Settings.__struct_fields__}
    if settings.exclude == ANYTHING:  # a section without a field, which excludes nothing
        values["exclude"] = None
    configuration = Configuration(**values, origin=Origin(place, document.lines))
    if mistakes:
        raise ConfigurationError(place, mistakes, document.lines, configuration)
    return configuration


async def _text(path: str | os.PathLike[str]) -> str:
    from npu_agent.schema.document import MAX_BYTES, open_file, text_of

    if os.fspath(path) == STANDARD_INPUT:
        # Not in a thread: nothing else runs yet, and a read in a thread could not be interrupted from the keyboard.
        return text_of(b"" if sys.stdin is None else sys.stdin.buffer.read(MAX_BYTES + 1))
    import aiofiles

    async with aiofiles.open(path, "rb", opener=open_file) as file:
        return text_of(await file.read(MAX_BYTES + 1) or b"")


def _same_names(settings: Settings) -> Iterator[Mistake]:
    first: dict[str, int] = {}
    for index, spec in enumerate(settings.resources):
        if isinstance(spec.name, str) and first.setdefault(spec.name, index) != index:
            advice = "kubelet knows one pool for each name; use another name, or select both kinds in one resource"
            yield Mistake(f"resources[{index}].name", f"{shown(spec.name)} is already the name of resources[{first[spec.name]}]; {advice}")
