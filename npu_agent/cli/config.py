"""`npu-agent config`: whether a configuration is right, and what it says with every default filled in."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npu_agent.cli import exits, paths

if TYPE_CHECKING:
    from npu_agent.config.configuration import Configuration

File = Annotated[
    Path | None,
    typer.Argument(
        readable=False,
        allow_dash=True,
        metavar="[FILE]",
        envvar="NPU_AGENT_CONFIG",
        help="The configuration, a YAML file; - for standard input.",
        show_default="built in",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the group of commands to `app`."""
    from npu_agent.cli import new_app

    group = new_app(name="config", help="Check a configuration, show it with its defaults, or print its schema.")
    group.command()(check)
    group.command()(show)
    group.command()(schema)
    app.add_typer(group)


def check(file: File = None, host_root: paths.HostRoot = Path("/")) -> None:
    """Say every mistake in a configuration, in the options of its backends and in their families; status 2 if there is one."""
    from npu_agent.config.advice import remarks

    configuration = _checked(file, host_root)
    for remark in remarks(configuration):
        exits.note(f"{configuration.place}: {remark}")
    names = ", ".join(spec.name for spec in configuration.resources) or "no resource"
    exits.output(f"{configuration.place} is right: {names} by {', '.join(configuration.backends) or 'no backend'}")


def show(file: File = None, host_root: paths.HostRoot = Path("/")) -> None:
    """Print a configuration as YAML with every default filled in."""
    from npu_agent.config.configuration import to_data
    from npu_agent.schema.document import dump

    exits.output(dump(to_data(_checked(file, host_root))), end="")


def schema() -> None:
    """Print the JSON Schema of a configuration, for editors and other tools."""
    import json

    from npu_agent.backends.fake.cards import Options as FakeOptions
    from npu_agent.backends.sysfs.options import Options as SysfsOptions
    from npu_agent.config.schema import json_schema

    exits.output(json.dumps(json_schema({"fake": FakeOptions, "sysfs": SysfsOptions}), indent=2))


def _checked(file: Path | None, host_root: Path) -> "Configuration":
    import asyncio

    from npu_agent.config.errors import ConfigurationError
    from npu_agent.node.making import make_backends

    configuration = asyncio.run(paths.configuration(file, None, host_root))
    try:
        make_backends(configuration, host_root)
    except ConfigurationError as error:
        exits.usage(str(error))
    return configuration
