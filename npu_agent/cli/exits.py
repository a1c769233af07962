"""How a command tells its result and how it ends when something is wrong: one line on standard error, and a status to rely on."""

import sys
from typing import NoReturn

import typer

from npu_agent.cli.streams import give_up_output
from npu_agent.core.errors import FAILURE, USAGE


def output(text: str, *, end: str = "\n") -> None:
    """Print what was asked for on standard output; end with status 1 where that cannot be written."""
    if sys.stdout is None:
        failure("the output cannot be written: standard output is closed")
    try:
        typer.echo(f"{text}{end}", nl=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader has seen enough, which typer ends quietly
        raise
    except (OSError, ValueError) as error:
        give_up_output()
        failure(f"the output cannot be written: {getattr(error, 'strerror', None) or error}")


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
