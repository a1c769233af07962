"""How a command ends when something is wrong: one line on standard error, and a status that scripts can rely on."""

from typing import NoReturn

import typer

FAILURE = 1
USAGE = 2


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
