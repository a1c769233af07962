"""How a command ends when something is wrong: one line on standard error, and a status that scripts can rely on."""

from typing import NoReturn

import typer

FAILURE = 1
USAGE = 2


def failure(text: str) -> NoReturn:
    """Say what could not be done and end with status 1."""
    typer.echo(f"npu-agent: {text}", err=True)
    raise typer.Exit(FAILURE)


def usage(text: str) -> NoReturn:
    """Say what is wrong with the options or the configuration and end with status 2."""
    typer.echo(f"npu-agent: {text}", err=True)
    raise typer.Exit(USAGE)
