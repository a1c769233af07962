"""What the cluster is to be told of the node."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from npu_agent.core.model_line import domain_mistake, is_label_name, label_key_mistake
from npu_agent.core.rules import Check
from npu_agent.schema.mistakes import folder_mistake, shown


def _value_mistake(text: str) -> str:
    return "" if not text or is_label_name(text) else f"expected at most 63 letters, digits, '-', '_' and '.', got {shown(text)}"


class NodeTaint(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A taint that nodes have while they carry cards, so that only pods that tolerate it come to them. `taint: {}` has the defaults."""

    key: Annotated[str, Check(label_key_mistake), Meta(description="its key")] = "furiosa.ai/npu"
    value: Annotated[str, Check(_value_mistake), Meta(description="its value; it may be empty")] = "exclusive"
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"], Meta(description="what becomes of pods that do not tolerate it")
    ] = "NoSchedule"


class ClusterSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the cluster is told of the node. Nothing by default: then the agent never speaks to the API server."""

    labels: Annotated[
        Literal["off", "apply", "nfd-file", "node-feature"],
        Meta(
            description="how the node gets its labels: not at all; applied to the Node object; by a feature file for the worker of NFD;"
            " or by a NodeFeature object for its master"
        ),
    ] = "off"
    prefix: Annotated[str, Check(domain_mistake), Meta(description="the domain of the labels that are the agent's own")] = "npu-agent.io"
    taint: Annotated[NodeTaint, Meta(description="a taint for as long as the node carries cards; none if absent")] | None = None
    nfd_folder: Annotated[str, Check(folder_mistake), Meta(description="where the worker of NFD looks for feature files")] = (
        "/etc/kubernetes/node-feature-discovery/features.d"
    )

    @property
    def is_on(self) -> bool:
        """Whether there is anything to tell."""
        return self.labels != "off" or self.taint is not None

    @property
    def needs_node_name(self) -> bool:
        """Whether an object of the API server is written that has the node's name."""
        return self.labels in ("apply", "node-feature") or self.taint is not None
