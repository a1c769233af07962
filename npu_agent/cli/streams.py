"""The standard streams as commands use them: what cannot be shown is escaped, and what cannot be written is no traceback."""

import contextlib
import errno
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

from npu_agent.core.errors import NpuAgentError
from npu_agent.core.text import escaped


class OutputUnwritable(NpuAgentError):
    """What was asked for cannot be written to standard output; the text says why."""


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


class OutputStream(io.TextIOBase):
    """Standard output, of which a command does nothing if it cannot be written: then OutputUnwritable is raised, whoever writes.

    A reader that has gone away stays BrokenPipeError, which typer ends quietly with status 1.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write `text` as it is."""
        if text == "":  # by which the option parser tries what kind of stream this is, and takes no failure for an answer
            return 0
        if self._stream is None:
            raise OutputUnwritable("the output cannot be written: standard output is closed")
        with self._told():
            return self._stream.write(text)

    def flush(self) -> None:
        """Flush what was written."""
        if self._stream is not None:
            with self._told():
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

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            give_up_output()
            raise OutputUnwritable(f"the output cannot be written: {error.strerror}") from error


def guard() -> None:
    """Have the standard streams of this process escape what their encoding does not have, and standard error what nobody should see."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # a closed one is taken, lest a file or socket of ours becomes a standard stream
            os.open(os.devnull, os.O_RDWR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.stdout = OutputStream(sys.stdout)
    sys.stderr = PrintableStream(sys.stderr)


def give_up_output() -> None:
    """Have nothing written to standard output any more, not even when the process ends: it cannot be."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def has_colours() -> bool:
    """Return whether standard output is a terminal on which colours are wanted (https://no-color.org)."""
    return is_terminal() and not os.environ.get("NO_COLOR")


def takes_all_characters(stream: TextIO | None) -> bool:
    """Return whether the encoding of `stream` has every character; where it has not, data are written in ASCII, to stay exact."""
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") in ("utf8", "")


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
