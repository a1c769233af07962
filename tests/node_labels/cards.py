"""Cards as an inventory has them, for what nodes say of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from npu_agent.backends.sysfs.parts import parts_of
from npu_agent.core.accelerator import Accelerator
from npu_agent.core.health import Health
from npu_agent.core.inventory import Inventory, Tracked
from npu_agent.core.model_line import ModelLine
from npu_agent.core.state import NodeState
from npu_agent.families.reading import read_shipped

FAMILIES = {name: read_shipped(name) for name in ("rngd", "warboy")}
NOWHERE = Path("/nowhere")


def card(family: str = "rngd", index: int = 0, **fields: Any) -> Accelerator:
    """A card of a family that ships, as the sysfs backend returns it."""
    described = FAMILIES[family]
    made = Accelerator(
        id=f"{family.upper()}-{index}",
        backend="sysfs",
        family=family,
        name=f"npu{index}",
        numa_node=index // 4,
        driver="1.0.0, 0abcdef",
        firmware="2025.1.0+696efad",
        model_line=ModelLine(described.product, tuple(described.node_labels)),
    )
    return replace(replace(made, parts=parts_of(made, described)), **fields)


def inventory(*cards: Accelerator, healthy: bool = True, vanished_at: float | None = None) -> Inventory:
    return {one.id: Tracked(one, Health(healthy, "" if healthy else "it is ill", 0.0), vanished_at=vanished_at) for one in cards}


def state(*cards: Accelerator) -> NodeState:
    return NodeState(inventory=inventory(*cards))
