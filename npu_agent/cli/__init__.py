"""The command line. Each command is a module of its own, imported when it is used: `serve` starts without paying for the others."""

import importlib
from typing import Annotated

import typer
from typer.core import TyperGroup

from npu_agent.cli import streams
from npu_agent.core.errors import NpuAgentError

COMMANDS = {
    "serve": "npu_agent.cli.serve",
    "list": "npu_agent.cli.list",
    "describe": "npu_agent.cli.describe",
    "config": "npu_agent.cli.config",
    "cdi": "npu_agent.cli.cdi",
    "cleanup": "npu_agent.cli.cleanup",
    "fake": "npu_agent.cli.fake",
    "demo": "npu_agent.cli.demo",
    "simulate-kubelet": "npu_agent.cli.simulate_kubelet",
    "version": "npu_agent.cli.version",
}
"""The module of each command, in the order of the help; its `register` adds the command to an app."""


def new_app(**settings: object) -> typer.Typer:
    """Return an app with the settings of all of ours: no rich, which costs 100 ms, and no traceback in colour."""
    return typer.Typer(
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
        **settings,  # type: ignore[arg-type]
    )


class _Commands(TyperGroup):
    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        return [*COMMANDS]  # `list` is the module of that name here, once it is imported

    def get_command(self, ctx: typer.Context, cmd_name: str):  # type: ignore[no-untyped-def,override]
        if cmd_name not in COMMANDS:
            return None
        app = new_app(add_completion=False)
        importlib.import_module(COMMANDS[cmd_name]).register(app)
        return typer.main.get_group(app).commands[cmd_name]


app = new_app(name="npu-agent", cls=_Commands)


def _show_version(wanted: bool) -> None:
    if wanted:
        importlib.import_module("npu_agent.cli.version").version()
        raise typer.Exit


@app.callback()
def npu_agent(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end.")] = False,
) -> None:
    """Give the accelerators of this node to the pods of Kubernetes.

    Exit codes: 0 done, 1 it failed, 2 a wrong option or configuration, 130 interrupted.
    """


def main() -> None:
    """Run the command line and end the process."""
    streams.guard()
    try:
        app(prog_name="npu-agent")
    except NpuAgentError as error:
        typer.echo(f"npu-agent: {error}", err=True)
        raise SystemExit(error.exit_status) from None
