"""Whom `list` and `describe` ask: the running agent, or where none answers, or where options say so, the host itself."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from npu_agent.cli import exits, paths

if TYPE_CHECKING:
    from npu_agent.api.npu_agent.v1 import Status
    from npu_agent.cli.listing import AcceleratorShown, Listing
    from npu_agent.config.configuration import Configuration

SCAN_AGAIN_S = 2.0
"""Seconds between two looks at the host while nobody can be followed."""

OF_A_SCAN = ("config", "backend", "host_root")
"""Options that say what to look at. The running agent has its own, so where one is given the host itself is looked at with them."""


@dataclass(slots=True)
class Question:
    """Whom to ask, and how. That the host itself is looked at, and why, is said once."""

    runtime_dir: Path
    config: Path | None
    backends: list[str] | None
    host_root: Path
    pod_resources: Path
    scans: str = ""
    """Why the host itself is to be looked at, empty if the agent is to be asked."""
    loaded: "Configuration | None" = None

    async def ask(self, *, details_of: str = "") -> "tuple[Status, str]":
        """Return what there is, and who said so: "agent" or "scan"."""
        from npu_agent.control.client import AgentClient
        from npu_agent.control.errors import AgentRefused, AgentUnreachable

        if self.scans:
            return await self._scan(self.scans, details_of=details_of), "scan"
        try:
            async with AgentClient(self.runtime_dir) as client:
                return await client.status(with_holders=True, details_of=details_of), "agent"
        except AgentRefused as error:
            exits.failure(f"the agent did not answer: {error}")
        except AgentUnreachable as error:
            return await self._scan(str(error), details_of=details_of), "scan"

    async def follow(self) -> "AsyncIterator[tuple[Status, str]]":
        """Yield the same again after each change, for ever."""
        import anyio

        from npu_agent.control.client import AgentClient
        from npu_agent.control.errors import AgentRefused, AgentUnreachable

        while True:
            if self.scans:
                yield await self._scan(self.scans), "scan"
            else:
                try:
                    async with AgentClient(self.runtime_dir) as client:
                        async for status in client.follow(with_holders=True):
                            self.loaded = None
                            yield status, "agent"
                except AgentRefused as error:
                    exits.failure(f"the agent did not answer: {error}")
                except AgentUnreachable as error:
                    yield await self._scan(str(error)), "scan"
            await anyio.sleep(SCAN_AGAIN_S)

    async def _scan(self, why: str, *, details_of: str = "") -> "Status":
        from npu_agent.agent import scan
        from npu_agent.core.errors import NpuAgentError

        if self.loaded is None:
            self.loaded = await paths.configuration(self.config, self.backends, self.host_root)
            exits.note(f"{why}; this is the host itself")
        try:
            return await scan(self.loaded, host_root=self.host_root, pod_resources=self.pod_resources, details_of=details_of)
        except NpuAgentError as error:
            exits.note(str(error))
            raise typer.Exit(error.exit_status) from None


def question(
    context: typer.Context,
    *,
    runtime_dir: Path | None,
    config: Path | None,
    backend: list[str] | None,
    host_root: Path,
    kubelet_dir: Path,
    pod_resources: Path | None,
) -> Question:
    """Return the question that the options of a command make."""
    given = [name for name in OF_A_SCAN if _is_given(context, name)]
    scans = f"--{given[0].replace('_', '-')} is given, so no agent is asked" if given else ""
    socket = paths.pod_resources(pod_resources, kubelet_dir)
    return Question(paths.runtime_dir(runtime_dir), config, backend, host_root, socket, scans)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether an option is on the command line; what the environment says is said of the agent too."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def selected(listing: "Listing", names: Sequence[str]) -> "Listing":
    """Return the listing with those accelerators alone that `names` call; ends with status 1 if one of them calls none."""
    import msgspec

    if not names:
        return listing
    wanted: dict[str, AcceleratorShown] = {}
    for name in names:
        found = [accelerator for accelerator in listing.accelerators if name.casefold() in _called(accelerator)]
        if not found:
            exits.failure(f"there is no accelerator {name!r}; npu-agent list shows those that there are")
        wanted |= {accelerator.id: accelerator for accelerator in found}
    return msgspec.structs.replace(listing, accelerators=[one for one in listing.accelerators if one.id in wanted])


def _called(accelerator: "AcceleratorShown") -> set[str]:
    texts = [accelerator.id, accelerator.name, accelerator.pci_address, accelerator.uuid, accelerator.serial]
    if accelerator.pci_address and accelerator.pci_address.startswith("0000:"):
        texts.append(accelerator.pci_address.removeprefix("0000:"))
    return {text.casefold() for text in [*texts, *(device.id for device in accelerator.devices)] if text}
