"""`npu-agent describe`: all that is known of one accelerator."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npu_agent.cli import exits, paths
from npu_agent.cli.asking import question, selected

if TYPE_CHECKING:
    from npu_agent.api.npu_agent.v1 import Accelerator, Part
    from npu_agent.cli.listing import AcceleratorShown


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(describe)


def describe(
    context: typer.Context,
    card: Annotated[str, typer.Argument(metavar="CARD", help="Its id, name, PCI address, uuid or serial.")],
    runtime_dir: paths.RuntimeDir = None,
    config: paths.Config = None,
    backend: paths.Backends = None,
    host_root: paths.HostRoot = Path("/"),
    kubelet_dir: paths.KubeletDir = Path("/var/lib/kubelet"),
    pod_resources: paths.PodResources = None,
) -> None:
    """Tell all that is known of an accelerator: what it is, how it was, what containers get with it, and who has it."""
    import asyncio

    from npu_agent.cli.listing import listing_of
    from npu_agent.core.text import printable

    asked = question(
        context,
        runtime_dir=runtime_dir,
        config=config,
        backend=backend,
        host_root=host_root,
        kubelet_dir=kubelet_dir,
        pod_resources=pod_resources,
    )
    status, source = asyncio.run(asked.ask(details_of=card))
    listing = selected(listing_of(status, source), [card])  # type: ignore[arg-type]
    messages = {accelerator.id: accelerator for accelerator in status.accelerators}
    texts = ["\n".join(printable(line, 1000) for line in _lines(shown, messages[shown.id], source)) for shown in listing.accelerators]
    if listing.holders_problem:
        exits.note(listing.holders_problem)
    exits.output("\n\n".join(texts))


def _lines(shown: "AcceleratorShown", message: "Accelerator", source: str) -> Iterator[str]:
    from npu_agent.cli.table import holders_of

    facts = {
        "ID": shown.id,
        "Name": shown.name,
        "Family": shown.family,
        "Backend": shown.backend,
        "State": shown.state,
        "Reason": shown.reason,
        "Since": shown.since,
        "Resource": shown.resource,
        "UUID": shown.uuid,
        "Serial": shown.serial,
        "PCI address": shown.pci_address,
        "NUMA node": None if shown.numa_node is None else str(shown.numa_node),
        "Location": "/".join(shown.location),
        "Driver": shown.driver,
        "Firmware": shown.firmware,
    }
    yield from (f"{name + ':':<13}{text or '-'}" for name, text in facts.items())
    yield from _section("Attributes", [f"{name}: {text}" for name, text in sorted(shown.attributes.items())])
    yield from _section("Notices", shown.notices)
    devices = [
        f"{device.id} of {device.resource}: {_health(device.healthy, device.reason)}; held by {holders_of(device) or 'nobody'}"
        for device in shown.devices
    ]
    yield from _section("Devices", devices)
    for part in message.parts:
        yield from _section(f"Part {part.name} ({part.kind})" if part.name else "Whole card", list(_given(part)))
    history = [f"{_utc(change.since)}  {_health(change.healthy, change.reason)}" for change in message.history]
    yield from _section("History of health", history if source == "agent" else [])


def _health(healthy: bool, reason: str | None) -> str:
    return "healthy" if healthy else f"unhealthy: {reason}"


def _given(part: "Part") -> Iterator[str]:
    if part.unusable:
        yield f"cannot be used: {part.unusable}"
    for node in part.device_nodes:
        as_path = "" if node.container_path == node.host_path else f" as {node.container_path}"
        yield f"node {node.host_path}{as_path} ({node.permissions}{'' if node.required else ', optional'})"
    for mount in part.mounts:
        as_path = "" if mount.container_path == mount.host_path else f" as {mount.container_path}"
        yield f"mount {mount.host_path}{as_path} ({'read-only' if mount.read_only else 'read-write'})"
    for name, value in sorted(part.environment.items()):
        yield f"variable {name}={value}"
    for name in part.cdi_devices:
        yield f"CDI device {name}"
    for name, value in sorted(part.annotations.items()):
        yield f"annotation {name}={value}"


def _section(title: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"{title}:"
        yield from (f"  {line}" for line in lines)


def _utc(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
