"""`npu-agent cleanup`: take back what agents have said of nodes."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npu_agent.cli import exits, paths

if TYPE_CHECKING:
    from npu_agent.cluster.cleanup import Cleaned


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(cleanup)


def cleanup(
    all_nodes: Annotated[bool, typer.Option("--all-nodes", help="Of all nodes of the cluster instead of one.")] = False,
    node_name: paths.NodeName = "",
    kubeconfig: paths.Kubeconfig = None,
    nfd_folder: Annotated[
        Path, typer.Option(readable=False, help="Where the worker of NFD looks for feature files; one of ours goes.")
    ] = Path("/etc/kubernetes/node-feature-discovery/features.d"),
) -> None:
    """Take back what the agent has said of the node: its labels, annotations and taint, and its feature file for NFD.

    Nothing of anybody else is touched. Stop the agent first, or it says it all again.
    """
    import asyncio

    from npu_agent.cluster.errors import ClusterError

    if not all_nodes and not node_name:
        exits.usage("which node is meant? give --node-name or the variable NODE_NAME, or --all-nodes")
    if not all_nodes:
        paths.checked_node_name(node_name)
    _remove_feature_file(nfd_folder)
    try:
        problems = asyncio.run(_clean(node_name, kubeconfig, all_nodes=all_nodes))
    except ClusterError as error:
        exits.failure(str(error))
    if problems:
        exits.failure(f"{problems} nodes could not be cleaned up")


async def _clean(node_name: str, kubeconfig: Path | None, *, all_nodes: bool) -> int:
    from functools import partial

    from npu_agent.cluster.access import find
    from npu_agent.cluster.cleanup import clean, clean_all
    from npu_agent.cluster.client import ApiServer

    api = ApiServer(partial(find, kubeconfig))
    if not all_nodes:
        return _say(await clean(api, node_name))
    return sum([_say(cleaned) async for cleaned in clean_all(api)])


def _say(cleaned: "Cleaned") -> int:
    """Tell what became of a node, and return the number of problems."""
    if cleaned.problem:
        exits.note(f"{cleaned.node}: {cleaned.problem}")
        return 1
    exits.output(f"{cleaned.node}: {', '.join(cleaned.gone) if cleaned.gone else 'nothing of ours'}")
    return 0


def _remove_feature_file(folder: Path) -> None:
    from npu_agent.cluster.feature_file import NAME, remove

    try:
        if remove(folder):
            exits.output(f"{folder / NAME}: removed")
    except OSError as error:
        exits.note(f"{folder / NAME} cannot be removed: {error.strerror}")
