"""What the agent knows, as the message that it answers with: the one form in which people and programs are shown it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from npu_agent.api.npu_agent.v1 import Accelerator, Device, Holder, Registration, Resource, Status
from npu_agent.core import registration
from npu_agent.core.inventory import Inventory, Tracked
from npu_agent.core.pool import Pool

Holders = Mapping[tuple[str, str], Sequence[registration.Holder]]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """All that is shown. `device_nodes` has the host paths for each accelerator id; `excluded` the ids that the configuration leaves out.

    Where there is no running agent (a scan by the command line), `registrations` and `holders` are empty.
    """

    version: str
    inventory: Inventory
    pools: Mapping[str, Pool]
    started_at: float = 0.0
    process_id: int = 0
    registrations: Mapping[str, registration.Registration] = field(default_factory=dict)
    device_nodes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()
    holders: Holders = field(default_factory=dict)
    holders_problem: str = ""
    problems: Sequence[str] = ()


def status_of(known: Knowledge) -> Status:
    """Return `known` as a message, accelerators by place in the machine, resources and devices by name."""
    accelerators = sorted(known.inventory.values(), key=lambda tracked: (tracked.accelerator.location, tracked.accelerator.id))
    return Status(
        version=known.version,
        started_at=known.started_at,
        process_id=known.process_id,
        accelerators=[_accelerator(tracked, known) for tracked in accelerators],
        resources=[_resource(pool, known) for _, pool in sorted(known.pools.items())],
        problems=list(known.problems),
        holders_problem=known.holders_problem,
    )


def _accelerator(tracked: Tracked, known: Knowledge) -> Accelerator:
    accelerator, health = tracked.accelerator, tracked.health
    if accelerator.id in known.excluded:
        state, reason = "excluded", "the configuration leaves it out"
    elif tracked.vanished_at is not None:
        state, reason = "vanished", health.reason
    elif accelerator.unusable:
        state, reason = "unusable", accelerator.unusable
    else:
        state, reason = ("healthy" if health.healthy else "unhealthy"), health.reason
    return Accelerator(
        id=accelerator.id,
        backend=accelerator.backend,
        family=accelerator.family,
        name=accelerator.name,
        pci_address=accelerator.pci_address,
        numa_node=accelerator.numa_node,
        uuid=accelerator.uuid,
        serial=accelerator.serial,
        firmware=accelerator.firmware,
        driver=accelerator.driver,
        state=state,
        reason=reason,
        since=health.since,
        device_nodes=list(known.device_nodes.get(accelerator.id, ())),
        location=list(accelerator.location),
    )


def _resource(pool: Pool, known: Knowledge) -> Resource:
    stand = known.registrations.get(pool.resource)
    return Resource(
        name=pool.resource,
        devices=[
            Device(
                id=device.id,
                accelerator_id=device.accelerator_id,
                healthy=device.health.healthy,
                reason=device.health.reason,
                since=device.health.since,
                holders=[
                    Holder(namespace=holder.namespace, pod=holder.pod, container=holder.container)
                    for holder in known.holders.get((pool.resource, device.id), ())
                ],
                partition=device.partition,
            )
            for device in pool.devices
        ],
        registration=None
        if stand is None
        else Registration(
            state=stand.state, reason=stand.reason, since=stand.since, endpoint=stand.endpoint, registrations=stand.registrations
        ),
    )
