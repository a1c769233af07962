"""The ways to tell the cluster of the node, as a configuration chooses them: the Node object itself, or features for NFD."""

import contextlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol

from npu_agent.cluster.access import find
from npu_agent.cluster.backoff import LOOK_AGAIN_S
from npu_agent.cluster.client import ApiServer
from npu_agent.cluster.feature_file import FeatureFile, remove
from npu_agent.cluster.keeping import Output, keep
from npu_agent.cluster.labels import carries_cards, describe
from npu_agent.cluster.node import Wanted, bring
from npu_agent.cluster.node_feature import NodeFeature
from npu_agent.cluster.taints import Taint
from npu_agent.core.state import NodeState
from npu_agent.flow.current import Current
from npu_agent.flow.tending import Tending

log = logging.getLogger(__name__)


class NodeOutput:
    """Writes the Node object: labels where `prefix` is given, and the taint where `taint` is."""

    source = "node labels"
    look_again_s = LOOK_AGAIN_S

    def __init__(self, api: ApiServer, name: str, *, prefix: str | None, taint: Taint | None) -> None:
        self._api = api
        self._name = name
        self._prefix = prefix
        self._taint = taint

    def wanted(self, state: NodeState) -> Wanted:
        description = None if self._prefix is None else describe(state.inventory, self._prefix)
        taint = self._taint if carries_cards(state.inventory) else None
        return Wanted(description, taint, with_taint=self._taint is not None)

    async def bring(self, wanted: Wanted) -> str:
        return await bring(self._api, self._name, wanted)


class TaintSettings(Protocol):
    """Which taint is meant."""

    @property
    def key(self) -> str: ...
    @property
    def value(self) -> str: ...
    @property
    def effect(self) -> str: ...


class Settings(Protocol):
    """What the configuration says of telling the cluster (`config.cluster.ClusterSettings`)."""

    @property
    def labels(self) -> Literal["off", "apply", "nfd-file", "node-feature"]: ...
    @property
    def prefix(self) -> str: ...
    @property
    def taint(self) -> TaintSettings | None: ...
    @property
    def nfd_folder(self) -> str: ...


async def tell_cluster(
    state: Current[NodeState], tell: Callable[[str, str], None], settings: Settings, node_name: str, kubeconfig: Path | None
) -> None:
    """Tell the cluster of `state` in the ways that are asked for, for as long as it runs; `tell` hears what cannot be told.

    Each way is a task of its own that is started again where it fails, so that neither another one nor kubelet suffers. `node_name` is
    what the API server calls this node; only `nfd-file` needs none.
    """
    api = ApiServer(partial(find, kubeconfig))
    labels, prefix, taint, folder = settings.labels, settings.prefix, settings.taint, Path(settings.nfd_folder)
    wanted: dict[str, Output[Any]] = {}
    if labels == "apply" or taint is not None:
        ours = Taint(taint.key, taint.value, taint.effect) if taint is not None else None
        wanted["node"] = NodeOutput(api, node_name, prefix=prefix if labels == "apply" else None, taint=ours)
    if labels == "nfd-file":
        wanted["nfd-file"] = FeatureFile(folder, prefix)
    if labels == "node-feature":
        wanted["node-feature"] = NodeFeature(api, node_name, prefix)

    async def task(_: str, output: Output[Any]) -> None:
        await keep(state, output, tell)

    def failed(name: str, error: Exception | None) -> None:
        log.error("telling the cluster of the node (%s) failed and is begun again", name, exc_info=error)
        tell(wanted[name].source, f"it failed by a fault of the agent, {type(error).__name__}: {error}; it is begun again")

    try:
        await Tending(Current(wanted), task, failed).run()
    finally:
        for output in wanted.values():
            tell(output.source, "")
        if labels == "nfd-file":
            # Nobody vouches for it any more. It is a small file, and there is no time to wait for a thread.
            with contextlib.suppress(OSError):
                remove(folder)
