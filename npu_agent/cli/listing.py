"""What `npu-agent list` tells: the one form into which an agent's answer or a scan goes, and out of which every output is made."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    from npu_agent.api.npu_agent.v1 import Accelerator, Device, Resource, Status

SCHEMA = 2
"""It grows when a field changes its meaning or goes away; new fields do not change it."""

Time = Annotated[str, Meta(description="in UTC, as in `2026-01-31T12:00:00Z`")]


class HolderShown(msgspec.Struct, frozen=True):
    """The container that kubelet gave a device to."""

    namespace: str
    pod: str
    container: str


class DeviceShown(msgspec.Struct, frozen=True):
    """What kubelet hands out: the accelerator, a part of it, or a replica."""

    id: Annotated[str, Meta(description="the id that kubelet knows")]
    resource: str
    partition: Annotated[str, Meta(description="the part of the accelerator; null for the whole")] | None
    healthy: bool
    reason: Annotated[str, Meta(description="why it is not healthy")] | None
    withheld: Annotated[str, Meta(description="why kubelet is told that it is unhealthy although its card is well")] | None
    since: Annotated[Time, Meta(description="when this state began; null in a scan")] | None
    holders: (
        Annotated[
            list[HolderShown],
            Meta(description="who has it; more than one is a device that was given out twice; null where kubelet cannot be asked"),
        ]
        | None
    )


class AcceleratorShown(msgspec.Struct, frozen=True):
    """One card."""

    id: Annotated[str, Meta(description="stable over reboots")]
    backend: str
    family: str
    name: Annotated[str, Meta(description="the kernel's name, which can change with a reboot")] | None
    resource: Annotated[str, Meta(description="the resource that its devices belong to")] | None
    state: Literal["healthy", "unhealthy", "withheld", "unusable", "vanished", "excluded", "unselected"]
    reason: Annotated[str, Meta(description="why it is in this state")] | None
    since: Annotated[Time, Meta(description="when this state began; null in a scan")] | None
    numa_node: int | None
    pci_address: str | None
    uuid: str | None
    serial: str | None
    firmware: str | None
    driver: str | None
    location: Annotated[list[str], Meta(description="the path from the root of the machine's tree down to the card")]
    device_nodes: Annotated[list[str], Meta(description="paths on the host")]
    attributes: Annotated[dict[str, str], Meta(description="what else its backend knows, which selectors may ask for")]
    notices: Annotated[list[str], Meta(description="what to know of a card that can be used all the same")]
    devices: list[DeviceShown]


class ProblemShown(msgspec.Struct, frozen=True):
    """Something that the agent cannot do, for as long as it lasts."""

    source: Annotated[str, Meta(description="whose it is, such as `backend sysfs`")]
    text: Annotated[str, Meta(description="what it is, and what to do about it")]
    since: Annotated[Time, Meta(description="when it began; null in a scan")] | None


class RegistrationShown(msgspec.Struct, frozen=True):
    """How a resource stands with kubelet."""

    state: Literal["registered", "registering", "waiting", "stopped"]
    reason: str | None
    since: Time
    endpoint: Annotated[str, Meta(description="the file name of the socket that kubelet was told")] | None
    registrations: int


class ResourceShown(msgspec.Struct, frozen=True):
    """One extended resource."""

    name: str
    devices: int
    healthy: Annotated[int, Meta(description="those that are neither unhealthy nor withheld")]
    held: Annotated[int, Meta(description="devices with a holder; null where kubelet cannot be asked")] | None
    registration: Annotated[RegistrationShown, Meta(description="null in a scan")] | None


class Listing(msgspec.Struct, frozen=True):
    """The whole answer."""

    schema: Annotated[int, Meta(description="the version of this form")]
    source: Annotated[Literal["agent", "scan"], Meta(description="who was asked: the running agent, or the host itself")]
    version: Annotated[str, Meta(description="the version of who answered")]
    revision: Annotated[int, Meta(description="which configuration is in force; it grows with each that is applied")]
    problems: Annotated[list[ProblemShown], Meta(description="what the agent cannot do now")]
    holders_problem: Annotated[str, Meta(description="why holders are not known")] | None
    resources: list[ResourceShown]
    accelerators: list[AcceleratorShown]


def listing_of(status: "Status", source: Literal["agent", "scan"]) -> Listing:
    """Return what is to be told of `status`. A scan has no past, so nothing in it has a since."""
    holders_known = not status.holders_problem
    devices: dict[str, list[DeviceShown]] = {}
    for resource in status.resources:
        for device in resource.devices:
            devices.setdefault(device.accelerator_id, []).append(_device(device, resource.name, source, holders_known))
    return Listing(
        schema=SCHEMA,
        source=source,
        version=status.version,
        revision=status.revision,
        problems=[ProblemShown(problem.source, problem.text, _time(problem.since, source)) for problem in status.problems],
        holders_problem=status.holders_problem or None,
        resources=[_resource(resource, holders_known) for resource in status.resources],
        accelerators=[_accelerator(accelerator, devices.get(accelerator.id, []), source) for accelerator in status.accelerators],
    )


def _device(device: "Device", resource: str, source: str, holders_known: bool) -> DeviceShown:
    return DeviceShown(
        id=device.id,
        resource=resource,
        partition=device.partition or None,
        healthy=device.healthy,
        reason=device.reason or None,
        withheld=device.withheld or None,
        since=_time(device.since, source),
        holders=[HolderShown(holder.namespace, holder.pod, holder.container) for holder in device.holders] if holders_known else None,
    )


def _accelerator(accelerator: "Accelerator", devices: Sequence[DeviceShown], source: str) -> AcceleratorShown:
    return AcceleratorShown(
        id=accelerator.id,
        backend=accelerator.backend,
        family=accelerator.family,
        name=accelerator.name or None,
        resource=devices[0].resource if devices else None,
        state=accelerator.state,  # type: ignore[arg-type]
        reason=accelerator.reason or None,
        since=_time(accelerator.since, source),
        numa_node=accelerator.numa_node,
        pci_address=accelerator.pci_address or None,
        uuid=accelerator.uuid or None,
        serial=accelerator.serial or None,
        firmware=accelerator.firmware or None,
        driver=accelerator.driver or None,
        location=list(accelerator.location),
        device_nodes=list(accelerator.device_nodes),
        attributes=dict(accelerator.attributes),
        notices=list(accelerator.notices),
        devices=list(devices),
    )


def _resource(resource: "Resource", holders_known: bool) -> ResourceShown:
    stand = resource.registration
    return ResourceShown(
        name=resource.name,
        devices=len(resource.devices),
        healthy=sum(device.healthy and not device.withheld for device in resource.devices),
        held=sum(bool(device.holders) for device in resource.devices) if holders_known else None,
        registration=None
        if stand is None
        else RegistrationShown(stand.state, stand.reason or None, _utc(stand.since), stand.endpoint or None, stand.registrations),  # type: ignore[arg-type]
    )


def _time(since: float, source: str) -> str | None:
    return _utc(since) if source == "agent" else None


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
