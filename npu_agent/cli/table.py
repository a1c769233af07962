"""A listing as a table for people: one row for each device, and one for each accelerator without any."""

import calendar
import time
import unicodedata
from collections.abc import Iterator, Mapping, Sequence

import typer

from npu_agent.cli.listing import AcceleratorShown, DeviceShown, Listing
from npu_agent.core.text import printable

NARROW = ("ID", "NAME", "FAMILY", "RESOURCE", "STATE", "AGE", "HOLDER", "NUMA", "PCI", "FIRMWARE", "REASON")
WIDE = (*NARROW[:-1], "DRIVER", "SERIAL", "LOCATION", "NODES", "ATTRIBUTES", "NOTICES", "REASON")

GOING = (
    "NOTICES",
    "ATTRIBUTES",
    "LOCATION",
    "NODES",
    "SERIAL",
    "DRIVER",
    "FIRMWARE",
    "PCI",
    "NUMA",
    "NAME",
    "FAMILY",
    "AGE",
    "RESOURCE",
    "HOLDER",
)
"""The order in which columns go where a terminal is too narrow for all of them. ID, STATE and REASON stay."""

LEAST_REASON = 20
"""Columns that a reason keeps before any other column goes."""

_COLOURS = {
    "healthy": typer.colors.GREEN,
    "unhealthy": typer.colors.RED,
    "vanished": typer.colors.RED,
    "withheld": typer.colors.YELLOW,
    "unusable": typer.colors.YELLOW,
}
_BAD_FIRST = ("unhealthy", "vanished", "withheld", "unusable")


def table(
    listing: Listing,
    *,
    wide: bool,
    now: float,
    colours: bool,
    width: int | None = None,
    height: int | None = None,
    headers: bool = True,
) -> str:
    """Return `listing` as lines of aligned columns. `now` is in seconds since the epoch; ages count up to it.

    With a `width` in columns no line is wider: reasons are cut, then columns go in the order of `GOING`. With a `height` in lines what
    is bad comes first, and the rest is counted.
    """
    titles: Sequence[str] = WIDE if wide else NARROW
    rows = list(_rows(listing, now))
    left = 0
    if height is not None and len(rows) + 1 > height:
        rows.sort(key=lambda row: row["STATE"] not in _BAD_FIRST)
        left = len(rows) - max(height - 2, 1)
        rows = rows[: len(rows) - left]
    titles, widths = _fitted(titles, rows, width)
    lines = [_line(titles, dict(zip(titles, titles, strict=True)), widths, colours=False)] if headers else []
    lines += [_line(titles, row, widths, colours=colours) for row in rows]
    return "\n".join([*lines, f"… {left} more"] if left else lines)


def age(seconds: float) -> str:
    """Return a duration as people say it: "12s", "3m", "5h", "12d"."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size or (unit == "d" and seconds >= size):
            return f"{int(seconds // size)}{unit}"
    return f"{max(int(seconds), 0)}s"


def columns_of(text: str) -> int:
    """Return how many columns of a terminal a text takes: a Hangul syllable takes two."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


def _fitted(titles: Sequence[str], rows: Sequence[Mapping[str, str]], width: int | None) -> tuple[list[str], dict[str, int]]:
    widths = {title: max([columns_of(title), *(columns_of(row[title]) for row in rows)]) for title in titles}
    kept = list(titles)
    if width is None:
        return kept, widths
    for going in (*GOING, None):
        others = sum(widths[title] + 2 for title in kept if title != "REASON")
        room = width - others
        if room >= min(widths["REASON"], LEAST_REASON) or going is None:
            widths["REASON"] = max(min(widths["REASON"], room), len("REASON"))
            return kept, widths
        if going in kept:
            kept.remove(going)
    return kept, widths


def _line(titles: Sequence[str], cells: Mapping[str, str], widths: Mapping[str, int], *, colours: bool) -> str:
    padded = []
    for title in titles:
        cell = cut(cells[title], widths[title])
        space = " " * (widths[title] - columns_of(cell))
        colour = _COLOURS.get(cell) if colours and title == "STATE" else None
        padded.append(typer.style(cell + space, fg=colour) if colour else cell + space)
    return "  ".join(padded).rstrip()


def cut(text: str, width: int) -> str:
    """Return `text` in at most `width` columns, with "…" where something is left out."""
    if columns_of(text) <= width:
        return text
    kept, room = "", width - 1
    for character in text:
        room -= columns_of(character)
        if room < 0:
            break
        kept += character
    return f"{kept}…"


def _rows(listing: Listing, now: float) -> Iterator[dict[str, str]]:
    for accelerator in listing.accelerators:
        for device in accelerator.devices or (None,):
            yield {title: printable(text, 1000) if text else "-" for title, text in _texts(accelerator, device, now).items()}


def _texts(accelerator: AcceleratorShown, device: DeviceShown | None, now: float) -> dict[str, str | None]:
    nodes = accelerator.device_nodes
    state, reason = _state(accelerator, device)
    return {
        "ID": device.id if device else accelerator.id,
        "NAME": accelerator.name,
        "FAMILY": accelerator.family,
        "RESOURCE": accelerator.resource,
        "STATE": state,
        "AGE": age(now - calendar.timegm(time.strptime(accelerator.since, "%Y-%m-%dT%H:%M:%SZ"))) if accelerator.since else None,
        "HOLDER": holders_of(device),
        "NUMA": None if accelerator.numa_node is None else str(accelerator.numa_node),
        "PCI": accelerator.pci_address,
        "FIRMWARE": accelerator.firmware,
        "DRIVER": accelerator.driver,
        "SERIAL": accelerator.serial,
        "LOCATION": "/".join(accelerator.location),
        "NODES": f"{nodes[0]} and {len(nodes) - 1} more" if len(nodes) > 1 else "".join(nodes),
        "ATTRIBUTES": ",".join(f"{name}={value}" for name, value in accelerator.attributes.items()),
        "NOTICES": "; ".join(accelerator.notices),
        "REASON": reason,
    }


def _state(accelerator: AcceleratorShown, device: DeviceShown | None) -> tuple[str, str | None]:
    """Return how the device of a row is and why: of the parts of one card, some may be withheld and others not."""
    if device is not None and device.withheld:
        return "withheld", device.withheld
    if device is not None and accelerator.state == "withheld":
        return ("healthy" if device.healthy else "unhealthy"), device.reason
    return accelerator.state, accelerator.reason


def holders_of(device: DeviceShown | None) -> str:
    """Return who has a device, "?" where kubelet does not tell."""
    if device is None:
        return ""
    if device.holders is None:
        return "?"
    return ",".join(f"{holder.namespace}/{holder.pod}/{holder.container}" for holder in device.holders)
