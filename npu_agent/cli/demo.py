"""`npu-agent demo`: the agent, fake cards and a simulated kubelet, step by step, in a temporary folder and without root."""

import typer

from npu_agent.cli import exits


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(demo)


def demo() -> None:
    """Show the agent at work with fake cards and a simulated kubelet: no root, no Kubernetes, a few seconds."""
    import asyncio
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from npu_agent.cli.demo_steps import Demo, StepFailed

    try:
        temporary = TemporaryDirectory(prefix="npu-agent-demo-")
    except OSError as error:
        exits.failure(f"the demo has no folder for its files: {error}; set TMPDIR to one")
    with temporary as folder:
        try:
            asyncio.run(Demo(Path(folder)).run())
        except StepFailed as failure:
            exits.failure(f"the demo failed: {failure}")
        except OSError as error:
            exits.failure(f"the demo cannot run in {folder}: {error}; set TMPDIR to another folder")
        except asyncio.CancelledError:
            exits.failure("the demo was ended by SIGTERM")
