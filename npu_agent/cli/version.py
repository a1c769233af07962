"""`npu-agent version`: which version this is."""

import typer

from npu_agent.cli import exits


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(version)


def version() -> None:
    """Print the version."""
    import npu_agent

    exits.output(f"npu-agent {npu_agent.__version__}")
