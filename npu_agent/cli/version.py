"""`npu-agent version`: which version this is."""

import typer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(version)


def version() -> None:
    """Print the version."""
    import npu_agent

    typer.echo(f"npu-agent {npu_agent.__version__}")
