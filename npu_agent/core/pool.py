"""Pools: the devices of one resource as kubelet is to see them. The only state that is shared, and a value."""

from dataclasses import dataclass

from npu_agent.core.health import Health


@dataclass(frozen=True, slots=True)
class Device:
    """What kubelet hands out: a whole accelerator, a partition of it, or one of its replicas.

    `location` is the accelerator's; `partition` is the family's name of the part, empty for the whole; `replica` counts from 0 where
    several containers may be given the same thing, else it is None.
    """

    id: str
    accelerator_id: str
    health: Health
    location: tuple[str, ...] = ()
    numa_node: int | None = None
    partition: str = ""
    replica: int | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """The devices of one resource, ordered by id. `generation` grows by one with each change of the others.

    `policy` says whether devices that share a card are near ("packed") or far ("spread") when several are asked for.
    """

    resource: str
    devices: tuple[Device, ...] = ()
    policy: str = "packed"
    generation: int = 0
