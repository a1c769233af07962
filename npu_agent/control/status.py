"""The node state as the messages of the agent's API: the one form in which people and programs are shown it."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from npu_agent.api.npu_agent import v1
from npu_agent.core import registration
from npu_agent.core.accelerator import Part
from npu_agent.core.identity import is_called
from npu_agent.core.inventory import Tracked
from npu_agent.core.planning import Omission
from npu_agent.core.pool import Device, Pool
from npu_agent.core.state import Holders, NodeState
from npu_agent.core.text import natural


@dataclass(frozen=True, slots=True)
class Process:
    """The agent that answers: its version, and for one that runs when it started (in seconds since the epoch) and its process."""

    version: str
    started_at: float = 0.0
    id: int = 0


def status_of(
    state: NodeState,
    process: Process,
    *,
    registrations: Mapping[str, registration.Registration] | None = None,
    absent_nodes: Container[str] = (),
    with_holders: bool = True,
    details_of: str = "",
) -> v1.Status:
    """Return the state as a message: accelerators by place in the machine as people count, resources by name."""
    holders: Holders = (state.holders or {}) if with_holders else {}
    tracked = sorted(state.inventory.values(), key=lambda one: ([*map(natural, one.accelerator.location)], natural(one.accelerator.id)))
    withheld = {device.accelerator_id: device.withheld for pool in state.plan.pools.values() for device in pool.devices if device.withheld}
    return v1.Status(
        version=process.version,
        started_at=process.started_at,
        process_id=process.id,
        accelerators=[_accelerator(one, state, withheld, absent_nodes, details=is_called(one.accelerator, details_of)) for one in tracked],
        resources=[_resource(pool, holders, (registrations or {}).get(name)) for name, pool in sorted(state.plan.pools.items())],
        problems=[
            v1.Problem(source=problem.source, text=problem.text, since=problem.since) for _, problem in sorted(state.problems.items())
        ],
        holders_problem=state.holders_problem if with_holders else "",
        revision=state.revision,
    )


def _accelerator(
    tracked: Tracked, state: NodeState, withheld: Mapping[str, str], absent_nodes: Container[str], *, details: bool
) -> v1.Accelerator:
    accelerator, health = tracked.accelerator, tracked.health
    shown, reason = _state(tracked, state, withheld)
    whole = accelerator.parts[0].edits.device_nodes if accelerator.parts and not accelerator.unusable else ()
    message = v1.Accelerator(
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
        state=shown,
        reason=reason,
        since=health.since,
        device_nodes=list(dict.fromkeys(node.host_path for node in whole if node.required or node.host_path not in absent_nodes)),
        location=list(accelerator.location),
        attributes=dict(accelerator.attributes),
        notices=list(accelerator.notices),
    )
    if details:
        message.parts = [_part(part, absent_nodes) for part in accelerator.parts]
        message.history = [v1.HealthChange(since=one.since, healthy=one.healthy, reason=one.reason) for one in (health, *tracked.past)]
    return message


def _state(tracked: Tracked, state: NodeState, withheld: Mapping[str, str]) -> tuple[str, str]:
    accelerator, health = tracked.accelerator, tracked.health
    left_out = state.plan.left_out.get(accelerator.id)
    if left_out is not None and left_out.omission is Omission.EXCLUDED:
        return "excluded", left_out.reason
    if tracked.vanished_at is not None:
        return "vanished", health.reason
    if left_out is not None:
        return left_out.omission.value, left_out.reason
    if accelerator.id in withheld:
        return "withheld", withheld[accelerator.id]
    return ("healthy" if health.healthy else "unhealthy"), health.reason


def _part(part: Part, absent_nodes: Container[str]) -> v1.Part:
    edits = part.edits
    return v1.Part(
        kind=part.kind,
        name=part.name,
        unusable=part.unusable,
        device_nodes=[
            v1.DeviceNode(
                host_path=node.host_path, container_path=node.container_path, permissions=node.permissions, required=node.required
            )
            for node in edits.device_nodes
            if node.required or node.host_path not in absent_nodes
        ],
        mounts=[
            v1.Mount(host_path=mount.host_path, container_path=mount.container_path, read_only=mount.read_only) for mount in edits.mounts
        ],
        environment=dict(edits.environment),
        cdi_devices=list(edits.cdi_devices),
        annotations=dict(edits.annotations),
    )


def _resource(pool: Pool, holders: Holders, stand: registration.Registration | None) -> v1.Resource:
    return v1.Resource(
        name=pool.resource,
        devices=[_device(pool.resource, device, holders) for device in pool.devices],
        registration=None
        if stand is None
        else v1.Registration(
            state=str(stand.state), reason=stand.reason, since=stand.since, endpoint=stand.endpoint, registrations=stand.registrations
        ),
    )


def _device(resource: str, device: Device, holders: Holders) -> v1.Device:
    return v1.Device(
        id=device.id,
        accelerator_id=device.accelerator_id,
        healthy=device.health.healthy,
        reason=device.health.reason,
        since=device.health.since,
        holders=[
            v1.Holder(namespace=holder.namespace, pod=holder.pod, container=holder.container)
            for holder in holders.get((resource, device.id), ())
        ],
        partition=device.partition,
        withheld=device.withheld,
    )
