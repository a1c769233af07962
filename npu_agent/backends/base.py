"""What every backend is: the code that finds accelerators, judges their health and says what a container needs to use them."""

import abc
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import anyio

from npu_agent.backends.errors import BackendError
from npu_agent.core.accelerator import Accelerator, ContainerEdits, Reading


class Backend(abc.ABC):
    """Accelerators of one kind on this host.

    A backend is made once, entered as an async context manager, asked from one event loop, and left. It never talks to kubelet and
    never blocks the loop: whatever reads a card goes through `bounded.Readers`, since a read of a dying card can hang for ever.
    Every path it touches lies below `host_root`.

    Third parties register a backend by the entry point group `npu_agent.backends`; the entry point's name is the one that the
    configuration uses. docs/backends.md shows a whole one.
    """

    name: ClassVar[str]
    """The word by which the configuration and `npu-agent list` call this backend."""

    wants_pre_start: ClassVar[bool] = False
    """Whether kubelet is to call before each start of a container that holds a device (`pre_start`)."""

    probe_timeout_s: float = 2.0
    """How long a read of a card may take in `probe` before the card counts as hanging. Set from the configuration once it is made."""

    partitions: Mapping[str, Sequence[str]] = {}
    """For each family, the kinds of partition that configuration may ask for, such as {"rngd": ["2core", "4core"]}."""

    def __init__(self, options: Mapping[str, Any], *, host_root: Path) -> None:
        """Take the options of the configuration, which are data from outside.

        Raises:
            errors.OptionError: an option is unknown or wrong; it carries the path of the field and what is expected there.
        """
        self.host_root = host_root

    async def __aenter__(self) -> "Backend":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    @abc.abstractmethod
    async def scan(self) -> Sequence[Accelerator]:
        """Return the accelerators that are there now, each id once, in any order.

        It is called every few seconds, so it reads again only what can have changed. A card that cannot be read is returned with
        what is known of it; one card in trouble hides no other. It raises only OSError, for the whole of the backend.
        """

    @abc.abstractmethod
    async def probe(self, accelerator: Accelerator) -> Reading:
        """Read the health of `accelerator` once and say why it is bad.

        It answers within its own timeout, whatever the card does, and never raises for what it finds.
        """

    @abc.abstractmethod
    def container_edits(self, accelerator: Accelerator, partition: str = "") -> ContainerEdits:
        """Return what a container needs to use `accelerator`, or the named part of it, without touching the host.

        `partition` is one that `partition_names` gave for this accelerator.
        """

    def partition_names(self, accelerator: Accelerator, kind: str) -> Sequence[str]:
        """Return the names of the parts of `kind` that `accelerator` divides into, such as ["pe0-1", "pe2-3"].

        Names are stable, short and made of letters, digits and "-". Empty for a kind that the accelerator does not have.
        """
        return ()

    async def pre_start(self, accelerators: Sequence[Accelerator]) -> None:
        """Prepare `accelerators` for a container that is about to start; called only where `wants_pre_start`.

        It must leave a card alone that another container of the same pod may still use (docs/kubelet.md, PreStartContainer).
        Raises errors.BackendError with a text for the pod's owner if the container cannot start.
        """

    async def watch(self) -> AsyncIterator[None]:
        """Yield whenever the host's accelerators may have changed, so that a scan comes sooner; never end.

        The default yields never: the periodic scan finds changes too.
        """
        await anyio.sleep_forever()
        yield

    async def command(self, name: str, arguments: Sequence[str]) -> str:
        """Carry out a command that came over the agent's socket (`npu-agent fake …`) and return what to tell the caller.

        Raises errors.BackendError for a command that this backend does not have or cannot do.
        """
        raise BackendError(f"the backend {self.name!r} takes no commands, so not {name!r} either")
