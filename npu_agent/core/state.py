"""The node state: the one value that says what there is now. It has one writer (`node`), and everybody else follows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from npu_agent.core.allocations import Key
from npu_agent.core.inventory import Inventory
from npu_agent.core.planning import Plan
from npu_agent.core.registration import Holder

Holders = Mapping[Key, Sequence[Holder]]
"""By resource name and device id. More than one holder is a device that was handed out twice, or a replica."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that the agent cannot do, for as long as it lasts, and what to do about it.

    `source` says whose it is ("backend sysfs", "resource furiosa.ai/npu", "kubelet's folder"); `since` is a date in seconds since
    the epoch.
    """

    source: str
    text: str
    since: float


@dataclass(frozen=True, slots=True)
class NodeState:
    """What there is on this node.

    `inventory` are the accelerators over time, `plan` what kubelet is told of them, `problems` by their source. `holders` is None
    where kubelet cannot be asked, and `holders_problem` says why then. `revision` counts the configurations that were in force.
    """

    inventory: Inventory = field(default_factory=dict)
    plan: Plan = field(default_factory=Plan)
    problems: Mapping[str, Problem] = field(default_factory=dict)
    holders: Holders | None = None
    holders_problem: str = ""
    revision: int = 1
