"""`npu-agent serve`: run the agent on this node."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npu_agent.cli import exits, paths

if TYPE_CHECKING:
    from npu_agent.observe.http.address import Address


class Level(StrEnum):
    """How much is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Form(StrEnum):
    """How a line of the log looks."""

    TEXT = "text"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(serve)


def serve(
    config: paths.Config = None,
    backend: paths.Backends = None,
    host_root: paths.HostRoot = Path("/"),
    kubelet_dir: paths.KubeletDir = Path("/var/lib/kubelet"),
    pod_resources: paths.PodResources = None,
    runtime_dir: paths.RuntimeDir = None,
    node_name: paths.NodeName = "",
    kubeconfig: paths.Kubeconfig = None,
    log_level: Annotated[Level, typer.Option(envvar="NPU_AGENT_LOG_LEVEL", help="What is logged, from this level on.")] = Level.INFO,
    log_format: Annotated[Form, typer.Option(envvar="NPU_AGENT_LOG_FORMAT", help="Lines for people or JSON for machines.")] = Form.TEXT,
    http: Annotated[
        str | None,
        typer.Option(
            envvar="NPU_AGENT_HTTP",
            metavar="<host:port>",
            help="Answer probes over HTTP there (/healthz, /readyz), such as 127.0.0.1:9400, or :9400 on all addresses.",
            show_default="off",
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", envvar="NPU_AGENT_REPLACE", help="Take over from an agent that runs on this node already.")
    ] = False,
    allow_plain_files: Annotated[
        bool,
        typer.Option(
            "--allow-plain-files",
            envvar="NPU_AGENT_ALLOW_PLAIN_FILES",
            help="Give out plain files in the place of device nodes: for test beds that cannot make any.",
        ),
    ] = False,
) -> None:
    """Run the agent: find accelerators, watch their health, and give them to pods through kubelet."""
    import gc

    address = _address(http) if http else None
    gc.disable()  # nothing of what is imported is garbage, and looking for some is a tenth of the start
    import asyncio

    from npu_agent.agent import Options
    from npu_agent.agent import serve as run
    from npu_agent.cli import logs
    from npu_agent.core.errors import NpuAgentError

    gc.freeze()
    gc.enable()
    configuration = asyncio.run(paths.configuration(config, backend, host_root))
    if configuration.cluster.needs_node_name:
        if not node_name:
            exits.usage(
                "the configuration has the cluster told of this node (cluster), and it is not known what it is called there:"
                " give --node-name or the variable NODE_NAME"
            )
        paths.checked_node_name(node_name)
    logs.set_up(log_level.value, log_format.value)
    options = Options(
        configuration=configuration,
        kubelet_dir=kubelet_dir,
        runtime_dir=paths.runtime_dir(runtime_dir),
        host_root=host_root,
        pod_resources=paths.pod_resources(pod_resources, kubelet_dir),
        http=address,
        replace=replace,
        allow_plain_files=allow_plain_files,
        node_name=node_name,
        kubeconfig=kubeconfig,
    )
    try:
        asyncio.run(run(options))
    except NpuAgentError as error:
        exits.note(str(error))
        raise typer.Exit(error.exit_status) from None


def _address(http: str) -> "Address":
    """Return the address that the option says, or end with status 2."""
    from npu_agent.observe.errors import HttpAddressWrong
    from npu_agent.observe.http.address import parse

    try:
        return parse(http)
    except HttpAddressWrong as error:
        exits.usage(str(error))
