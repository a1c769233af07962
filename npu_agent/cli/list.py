"""`npu-agent list`: the accelerators of this node, how they are and who has them."""

import os
import sys
from collections.abc import AsyncIterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npu_agent.cli import exits, paths

if TYPE_CHECKING:
    from npu_agent.cli.listing import Listing
    from npu_agent.config.configuration import Configuration

SCAN_AGAIN_S = 2.0
"""Seconds between two looks at the host while `--watch` finds no agent to follow."""


class Output(StrEnum):
    """How the list looks."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    YAML = "yaml"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("list")(list_accelerators)


def list_accelerators(
    output: Annotated[
        Output,
        typer.Option("--output", "-o", envvar="NPU_AGENT_OUTPUT", help="A table, a table with more columns, or data with a stable form."),
    ] = Output.TABLE,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again after each change, until interrupted.")] = False,
    runtime_dir: paths.RuntimeDir = None,
    config: paths.Config = None,
    backend: paths.Backends = None,
    host_root: paths.HostRoot = Path("/"),
    kubelet_dir: paths.KubeletDir = Path("/var/lib/kubelet"),
    pod_resources: paths.PodResources = None,
) -> None:
    """List the accelerators of this node.

    The running agent is asked; where none answers, the host itself is looked at, with the options from --config on. It needs no root
    where files and sockets can be read without.
    """
    import asyncio

    socket = paths.pod_resources(pod_resources, kubelet_dir)
    question = _Question(paths.runtime_dir(runtime_dir), config, backend, host_root, socket)
    asyncio.run(_watch(question, output) if watch else _once(question, output))


class _Question:
    """Whom to ask, and how. Without an agent it says so once, on standard error."""

    def __init__(self, runtime_dir: Path, config: Path | None, backends: list[str] | None, host_root: Path, pod_resources: Path) -> None:
        self._runtime_dir = runtime_dir
        self._config = config
        self._backends = backends
        self._host_root = host_root
        self._pod_resources = pod_resources
        self._loaded: Configuration | None = None

    async def ask(self) -> "Listing":
        """Return what the agent knows, else what the host shows."""
        from npu_agent.cli.listing import listing_of
        from npu_agent.control.client import AgentClient
        from npu_agent.control.errors import AgentRefused, AgentUnreachable

        try:
            async with AgentClient(self._runtime_dir) as client:
                return listing_of(await client.status(with_holders=True), "agent")
        except AgentRefused as error:
            exits.failure(f"the agent did not answer: {error}")
        except AgentUnreachable as error:
            return await self._scan(str(error))

    async def follow(self) -> "AsyncIterator[Listing]":
        """Yield the same again after each change, for ever."""
        import anyio

        from npu_agent.cli.listing import listing_of
        from npu_agent.control.client import AgentClient
        from npu_agent.control.errors import AgentRefused, AgentUnreachable

        while True:
            try:
                async with AgentClient(self._runtime_dir) as client:
                    async for status in client.follow(with_holders=True):
                        self._loaded = None
                        yield listing_of(status, "agent")
            except AgentRefused as error:
                exits.failure(f"the agent did not answer: {error}")
            except AgentUnreachable as error:
                yield await self._scan(str(error))
            await anyio.sleep(SCAN_AGAIN_S)

    async def _scan(self, why: str) -> "Listing":
        from npu_agent.agent import scan
        from npu_agent.backends.errors import BackendError
        from npu_agent.cli.listing import listing_of
        from npu_agent.config.errors import ConfigurationError

        if self._loaded is None:
            self._loaded = await paths.configuration(self._config, self._backends, self._host_root)
            exits.note(f"{why}; this is the host itself")
        try:
            return listing_of(await scan(self._loaded, host_root=self._host_root, pod_resources=self._pod_resources), "scan")
        except (BackendError, ConfigurationError) as error:
            exits.usage(str(error))


async def _once(question: _Question, output: Output) -> None:
    listing = await question.ask()
    for text in _remarks(listing):
        exits.note(text)
    exits.output(_text(listing, output))


async def _watch(question: _Question, output: Output) -> None:
    on_terminal = sys.stdout.isatty() and output in (Output.TABLE, Output.WIDE)
    shown: object = None
    async for listing in question.follow():
        text = _text(listing, output, one_of_many=True)
        if on_terminal:
            # From the top left: home, the text with the rest of each line erased, then the rest of the screen.
            source = ["no agent answers; this is the host itself"] if listing.source == "scan" else []
            lines = [*text.splitlines(), "", *source, *_remarks(listing)]
            exits.output("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", end="")
        elif listing != shown:
            exits.output(text)
            shown = listing
        sys.stdout.flush()


def _remarks(listing: "Listing") -> list[str]:
    remarks = list(listing.problems)
    if listing.holders_problem:
        remarks.append(listing.holders_problem)
    if not listing.accelerators:
        remarks.append("there is no accelerator on this host that a configured backend knows")
    return remarks


def _text(listing: "Listing", output: Output, *, one_of_many: bool = False) -> str:
    import time

    import msgspec

    if output is Output.JSON:
        encoded = msgspec.json.encode(listing)
        return (encoded if one_of_many else msgspec.json.format(encoded, indent=2)).decode()
    if output is Output.YAML:
        from npu_agent.schema.document import dump

        return ("---\n" if one_of_many else "") + dump(msgspec.to_builtins(listing)).rstrip("\n")
    from npu_agent.cli.table import table

    return table(listing, wide=output is Output.WIDE, now=time.time(), colours=sys.stdout.isatty() and "NO_COLOR" not in os.environ)
