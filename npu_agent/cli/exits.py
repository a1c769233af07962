"""How a command tells its result and how it ends when something is wrong: one line on standard error, and a status to rely on."""

from typing import NoReturn

import typer

from npu_agent.core.errors import FAILURE, USAGE
from npu_agent.core.text import escaped


def output(text: str, *, end: str = "\n") -> None:
    """Print what was asked for on standard output, with the escape of each character in its lines that is not printable.

    Raises streams.OutputUnwritable.
    """
    drawn("\n".join(map(escaped, text.split("\n"))), end=end)


def drawn(text: str, *, end: str = "\n") -> None:
    """Print `text` as it is: with colours of ours, and of others only what has been made printable. Raises streams.OutputUnwritable."""
    typer.echo(f"{text}{end}", nl=False)


def note(text: str) -> None:
    """Say something beside the output, which may go into a pipe."""
    typer.echo(f"npu-agent: {text}", err=True)


def failure(text: str) -> NoReturn:
    """Say what could not be done and end with status 1."""
    note(text)
    raise typer.Exit(FAILURE)


def usage(text: str) -> NoReturn:
    """Say what is wrong with the options or the configuration and end with status 2."""
    note(text)
    raise typer.Exit(USAGE)
