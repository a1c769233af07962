"""Pools: the devices of one resource as kubelet is to see them."""

from dataclasses import dataclass

from npu_agent.core.accelerator import WHOLE, Part
from npu_agent.core.health import Health


@dataclass(frozen=True, slots=True)
class Device:
    """What kubelet hands out: a part of an accelerator, or one of its replicas.

    `location` is the accelerator's, with that of the part below it; `replica` counts from 0 where several containers may be given
    the same thing, else it is None. `withheld` says why kubelet is told that it is unhealthy although its card may be well: a pod may
    still hold that hardware under another name.
    """

    id: str
    accelerator_id: str
    health: Health
    location: tuple[str, ...] = ()
    numa_node: int | None = None
    part: Part = WHOLE
    replica: int | None = None
    withheld: str = ""

    @property
    def partition(self) -> str:
        """The name of the part, empty for the whole card."""
        return self.part.name


@dataclass(frozen=True, slots=True)
class Pool:
    """The devices of one resource, ordered by id. `generation` grows by one with each change of the others.

    `policy` says whether devices that share a card are near ("packed"), far ("spread") or never given together ("apart") when several
    are asked for. `pre_start` says whether kubelet is to call before each start of a container that holds one of them.
    """

    resource: str
    devices: tuple[Device, ...] = ()
    policy: str = "packed"
    generation: int = 0
    pre_start: bool = False
