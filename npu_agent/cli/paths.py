"""The options that several commands share, and what they mean where they are not given."""

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npu_agent.cli import exits
from npu_agent.core.text import printable

if TYPE_CHECKING:
    from npu_agent.config.configuration import Configuration

# What cannot be read is told by whoever reads it, and only if somebody does.
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", readable=False, envvar="NPU_AGENT_CONFIG", help="The configuration, a YAML file.", show_default="built in"
    ),
]
Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        "-b",
        envvar="NPU_AGENT_BACKEND",
        help="Use this backend only, with its options of the configuration; may be repeated.",
        show_default="those of the configuration",
    ),
]
HostRoot = Annotated[
    Path,
    typer.Option(
        readable=False, envvar="NPU_AGENT_HOST_ROOT", help="Where the host's / is mounted; all of /sys and /dev is looked for below it."
    ),
]
KubeletDir = Annotated[
    Path, typer.Option(readable=False, envvar="NPU_AGENT_KUBELET_DIR", help="kubelet's folder; it holds device-plugins and pod-resources.")
]
PodResources = Annotated[
    Path | None,
    typer.Option(
        readable=False,
        envvar="NPU_AGENT_POD_RESOURCES",
        help="kubelet's PodResources socket, where kubelet has another --root-dir.",
        show_default="KUBELET_DIR/pod-resources/kubelet.sock",
    ),
]
RuntimeDir = Annotated[
    Path | None,
    typer.Option(
        readable=False,
        envvar="NPU_AGENT_RUNTIME_DIR",
        help="The folder of the agent's lock and its own socket.",
        show_default="/run/npu-agent, or a folder of yours without root",
    ),
]

NodeName = Annotated[
    str,
    typer.Option(envvar="NODE_NAME", help="What the cluster calls this node, where it is told of it (cluster).", show_default=False),
]
Kubeconfig = Annotated[
    Path | None,
    typer.Option(
        readable=False,
        envvar="NPU_AGENT_KUBECONFIG",
        help="How to reach the API server from outside of a pod.",
        show_default="the service account of the pod",
    ),
]


def checked_node_name(name: str) -> str:
    """Return `name`, or end with status 2 where no node can be called so (RFC 1123)."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", name):
        exits.usage(f"expected what the cluster calls the node (--node-name, or the variable NODE_NAME), got {printable(name, 60)!r}")
    return name


def runtime_dir(given: Path | None) -> Path:
    """Return the folder of the agent's lock and socket: `given`, else the system's for root, else the user's own."""
    if given is not None:
        return given
    if os.geteuid() == 0:
        return Path("/run/npu-agent")
    own = os.environ.get("XDG_RUNTIME_DIR")
    return Path(own) / "npu-agent" if own else Path(tempfile.gettempdir()) / f"npu-agent-{os.geteuid()}"


def pod_resources(given: Path | None, kubelet_dir: Path) -> Path:
    """Return kubelet's PodResources socket: `given`, else the one below `kubelet_dir`."""
    return given or kubelet_dir / "pod-resources" / "kubelet.sock"


async def configuration(path: Path | None, backends: list[str] | None, host_root: Path) -> "Configuration":
    """Return the configuration at `path` (the built-in one for None) with only `backends`, or end with status 2 and every mistake."""
    from npu_agent.config.configuration import DEFAULT
    from npu_agent.config.errors import ConfigurationError
    from npu_agent.config.reading import load

    try:
        loaded = DEFAULT if path is None else await load(path)
    except ConfigurationError as error:
        from npu_agent.node.making import with_mistakes_of_backends

        exits.usage(str(with_mistakes_of_backends(error, host_root)))
    return loaded.only(backends) if backends else loaded
