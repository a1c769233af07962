"""`npu-agent list`: the accelerators of this node, how they are and who has them."""

import shutil
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npu_agent.cli import exits, paths, streams
from npu_agent.cli.asking import Question, question, selected

if TYPE_CHECKING:
    from npu_agent.cli.listing import Listing


class Output(StrEnum):
    """How the list looks."""

    TABLE = "table"
    WIDE = "wide"
    NAME = "name"
    JSON = "json"
    YAML = "yaml"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("list")(list_accelerators)


def list_accelerators(
    context: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[CARD]...", help="Only these: ids, names, PCI addresses, uuids or serials.", show_default="all"),
    ] = None,
    output: Annotated[
        Output,
        typer.Option(
            "--output", "-o", envvar="NPU_AGENT_OUTPUT", help="A table, one with more columns, ids alone, or data with a stable form."
        ),
    ] = Output.TABLE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again after each change, until interrupted.")] = False,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Leave out the titles of the columns.")] = False,
    runtime_dir: paths.RuntimeDir = None,
    config: paths.Config = None,
    backend: paths.Backends = None,
    host_root: paths.HostRoot = Path("/"),
    kubelet_dir: paths.KubeletDir = Path("/var/lib/kubelet"),
    pod_resources: paths.PodResources = None,
) -> None:
    """List the accelerators of this node.

    The running agent is asked; where none answers, or where --config, --backend or --host-root is given, the host itself is looked at
    with the options from --config on. It needs no root where files and sockets can be read without.
    """
    import asyncio

    asked = question(
        context,
        runtime_dir=runtime_dir,
        config=config,
        backend=backend,
        host_root=host_root,
        kubelet_dir=kubelet_dir,
        pod_resources=pod_resources,
    )
    shown = _Shown(output, names or [], headers=not no_headers)
    asyncio.run(_watch(asked, shown) if watch else _once(asked, shown))


class _Shown:
    """What is to be shown of a listing, and how."""

    def __init__(self, output: Output, names: list[str], *, headers: bool) -> None:
        self._output = output
        self._names = names
        self._headers = headers
        self.is_table = output in (Output.TABLE, Output.WIDE)

    def listing(self, status: object, source: str) -> "Listing":
        from npu_agent.cli.listing import listing_of

        return selected(listing_of(status, source), self._names)  # type: ignore[arg-type]

    def text(self, listing: "Listing", *, one_of_many: bool = False, height: int | None = None) -> str:
        import time

        import msgspec

        if self._output is Output.NAME:
            return "\n".join(accelerator.id for accelerator in listing.accelerators)
        if self._output is Output.JSON:
            import json

            # Not by msgspec, which refuses what is no text (a lone surrogate).
            indent, in_ascii = (None if one_of_many else 2), not streams.takes_all_characters(sys.stdout)
            return streams.escaped_data(json.dumps(msgspec.to_builtins(listing), indent=indent, ensure_ascii=in_ascii))
        if self._output is Output.YAML:
            from npu_agent.schema.document import dump

            document = dump(msgspec.to_builtins(listing), in_ascii=not streams.takes_all_characters(sys.stdout)).rstrip("\n")
            return ("---\n" if one_of_many else "") + streams.escaped_data(document)
        from npu_agent.cli.table import table

        return table(
            listing,
            wide=self._output is Output.WIDE,
            now=time.time(),
            colours=streams.has_colours(),
            width=shutil.get_terminal_size().columns if streams.is_terminal() else None,
            height=height,
            headers=self._headers,
        )


async def _once(asked: Question, shown: _Shown) -> None:
    listing = shown.listing(*await asked.ask())
    for text in _remarks(listing):
        exits.note(text)
    text = shown.text(listing)
    (exits.drawn if shown.is_table else exits.output)(text, end="\n" if text else "")


async def _watch(asked: Question, shown: _Shown) -> None:
    from npu_agent.cli.table import cut
    from npu_agent.core.text import printable

    on_terminal = shown.is_table and streams.is_terminal()
    before: object = None
    async for status, source in asked.follow():
        listing = shown.listing(status, source)
        if on_terminal:
            # From the top left: home, the text with the rest of each line erased, then the rest of the screen.
            said = ["no agent is asked; this is the host itself"] if listing.source == "scan" else []
            size = shutil.get_terminal_size()
            below = ["", *said, *map(printable, _remarks(listing))] if said or _remarks(listing) else []
            below = [cut(line, size.columns) for line in below][: size.lines // 2]
            lines = shown.text(listing, one_of_many=True, height=size.lines - len(below) - 1).splitlines()
            exits.drawn("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in [*lines, *below]) + "\x1b[J", end="")
        elif listing != before:
            (exits.drawn if shown.is_table else exits.output)(shown.text(listing, one_of_many=True))
            before = listing
        sys.stdout.flush()


def _remarks(listing: "Listing") -> list[str]:
    remarks = [f"{problem.source}: {problem.text}" for problem in listing.problems]
    if listing.holders_problem:
        remarks.append(listing.holders_problem)
    if not listing.accelerators:
        remarks.append("there is no accelerator on this host that a configured backend knows")
    return remarks
