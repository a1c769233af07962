"""A listing as a table for people: one row for each device, and one for each accelerator without any."""

import calendar
import time
from collections.abc import Iterator

import typer

from npu_agent.cli.listing import AcceleratorShown, DeviceShown, Listing

NARROW = ("ID", "NAME", "FAMILY", "RESOURCE", "STATE", "AGE", "HOLDER", "NUMA", "PCI", "FIRMWARE", "REASON")
WIDE = (*NARROW[:-1], "DRIVER", "SERIAL", "LOCATION", "NODES", "REASON")

_COLOURS = {"healthy": typer.colors.GREEN, "unhealthy": typer.colors.RED, "vanished": typer.colors.RED, "unusable": typer.colors.YELLOW}


def table(listing: Listing, *, wide: bool, now: float, colours: bool) -> str:
    """Return `listing` as lines of aligned columns. `now` is in seconds since the epoch; ages count up to it."""
    titles = WIDE if wide else NARROW
    rows = [[cells[title] for title in titles] for cells in _rows(listing, now)]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    state = titles.index("STATE")
    lines = []
    for row in (titles, *rows):
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        if colours and row[state] in _COLOURS:
            padded[state] = typer.style(padded[state], fg=_COLOURS[row[state]])
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def age(seconds: float) -> str:
    """Return a duration as people say it: "12s", "3m", "5h", "12d"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (unit == "d" and seconds >= size):
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def _rows(listing: Listing, now: float) -> Iterator[dict[str, str]]:
    for accelerator in listing.accelerators:
        for device in accelerator.devices or (None,):
            yield {title: _cell(text) for title, text in _texts(accelerator, device, now).items()}


def _texts(accelerator: AcceleratorShown, device: DeviceShown | None, now: float) -> dict[str, str | None]:
    nodes = accelerator.device_nodes
    return {
        "ID": device.id if device else accelerator.id,
        "NAME": accelerator.name,
        "FAMILY": accelerator.family,
        "RESOURCE": accelerator.resource,
        "STATE": accelerator.state,
        "AGE": age(now - calendar.timegm(time.strptime(accelerator.since, "%Y-%m-%dT%H:%M:%SZ"))) if accelerator.since else None,
        "HOLDER": _holders(device),
        "NUMA": None if accelerator.numa_node is None else str(accelerator.numa_node),
        "PCI": accelerator.pci_address,
        "FIRMWARE": accelerator.firmware,
        "DRIVER": accelerator.driver,
        "SERIAL": accelerator.serial,
        "LOCATION": "/".join(accelerator.location),
        "NODES": f"{nodes[0]} and {len(nodes) - 1} more" if len(nodes) > 1 else "".join(nodes),
        "REASON": accelerator.reason,
    }


def _holders(device: DeviceShown | None) -> str:
    if device is None:
        return ""
    if device.holders is None:
        return "?"
    return ",".join(f"{holder.namespace}/{holder.pod}/{holder.container}" for holder in device.holders)


def _cell(text: str | None) -> str:
    # What a card or a pod says of itself must not steer the terminal.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text) if text else "-"
