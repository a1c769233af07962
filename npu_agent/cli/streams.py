"""The standard streams as commands use them: what cannot be shown is escaped, and what cannot be written is no traceback."""

import contextlib
import io
import os
import sys
from typing import TextIO

from npu_agent.core.text import escaped


class PrintableStream(io.TextIOBase):
    """A stream for people: each line that is written has every character that is not printable as its escape.

    It is the one exit for what commands, the log and the option parser say. That nobody can read it is nobody's failure.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text`; its line breaks stay."""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write("\n".join(map(escaped, text.split("\n"))))
        return len(text)

    def flush(self) -> None:
        """Flush what was written."""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether a person sees it at once."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor below."""
        if self._stream is None:
            raise io.UnsupportedOperation("closed")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding below."""
        return getattr(self._stream, "encoding", None) or "utf-8"


def guard() -> None:
    """Have the standard streams of this process escape what their encoding does not have, and standard error what nobody should see."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stderr = PrintableStream(sys.stderr)


def give_up_output() -> None:
    """Have nothing written to standard output any more, not even when the process ends: it cannot be."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def has_colours() -> bool:
    """Return whether standard output is a terminal on which colours are wanted (https://no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def is_terminal() -> bool:
    """Return whether standard output is a terminal that knows more than lines."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def escaped_data(text: str) -> str:
    """Return JSON or YAML in which each character that is not printable is written as its escape, so that the data stay the same.

    Such characters stand in quotes there, and both forms know the escapes of JSON.
    """
    return "\n".join(line if line.isprintable() else "".join(map(_json_escape, line)) for line in text.split("\n"))


def _json_escape(character: str) -> str:
    if character.isprintable():
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
