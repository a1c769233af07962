"""What every backend is: the code that finds accelerators and reads their health. What it knows is data; it decides nothing."""

import abc
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from npu_agent.core.accelerator import Accelerator, Reading


class Backend(abc.ABC):
    """Accelerators of one kind on this host.

    A backend is made once, entered as an async context manager, asked from one event loop, and left. It never talks to kubelet and
    never blocks the loop: whatever reads a card goes through `host.bounded.Readers`, since a read of a dying card can hang for ever.
    Every path it touches lies below `host_root`. The agent calls it from one place, which gives each call a deadline and takes
    whatever it raises for a problem of this backend and of no other.

    What not every backend can do is a protocol below, which a backend has by having its method.

    Third parties register a backend by the entry point group `npu_agent.backends`; the entry point's name is the one that the
    configuration uses. docs/backends.md shows a whole one.
    """

    name: ClassVar[str]
    """The word by which the configuration and `npu-agent list` call this backend."""

    partitions: Mapping[str, Sequence[str]] = {}
    """For each family, the kinds of partition that configuration may ask for, such as {"rngd": ["2core", "4core"]}."""

    def __init__(self, options: Mapping[str, Any], *, host_root: Path, probe_timeout_s: float = 2.0) -> None:
        """Take the options of the configuration, which are data from outside.

        `probe_timeout_s` is how long a read of a card may take before the card counts as hanging.

        Raises:
            errors.OptionError: an option is unknown or wrong; it carries the path of the field and what is expected there.
        """
        self.host_root = host_root
        self.probe_timeout_s = probe_timeout_s

    async def __aenter__(self) -> "Backend":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        return None

    @abc.abstractmethod
    async def scan(self) -> Sequence[Accelerator]:
        """Return the accelerators that are there now, each id once, in any order, with all that containers need to use them.

        It is called every few seconds, so it reads again only what can have changed. A card that cannot be read, or has not been read
        yet, is returned as unusable with what is known of it; one card in trouble hides no other. An id is a proposal: the agent
        may call the card by another one, so that hardware that a pod holds keeps the id under which it was given.

        It raises only OSError and BackendError, for the whole of the backend, and `host.errors.ShortOfResources` where this process
        lacks files, memory or threads.
        """

    @abc.abstractmethod
    async def probe(self, accelerator: Accelerator) -> Reading:
        """Read the health of `accelerator`, as `scan` returned it, once and say why it is bad.

        It answers within its own timeout, whatever the card does, and never raises for what it finds. It raises
        `host.errors.ShortOfResources` where this process lacks files, memory or threads: that says nothing of the card.
        """


@runtime_checkable
class Hints(Protocol):
    """A backend that sees by itself when something may have changed."""

    def hints(self) -> AsyncIterator[None]:
        """Yield whenever the host's accelerators may have changed, so that a scan comes sooner; never end."""


@runtime_checkable
class Preparing(Protocol):
    """A backend that prepares its cards before each start of a container that holds one."""

    async def prepare(self, accelerators: Sequence[Accelerator]) -> None:
        """Prepare `accelerators` for a container that is about to start.

        It must leave a card alone that another container of the same pod may still use (docs/kubelet.md, PreStartContainer).
        Raises errors.BackendError with a text for the pod's owner if the container cannot start.
        """


@runtime_checkable
class Commanded(Protocol):
    """A backend that takes commands over the agent's socket (`npu-agent fake …`)."""

    async def command(self, name: str, arguments: Sequence[str]) -> str:
        """Carry out a command and return what to tell the caller. Raises errors.BackendError for one that it does not have."""
