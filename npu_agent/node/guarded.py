"""The one caller of a backend: every call has a deadline, and whatever goes wrong is a problem of this backend and of no other."""

import asyncio
import queue
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import anyio

from npu_agent.backends.base import Backend, Commanded, Hints, Preparing
from npu_agent.backends.errors import BackendError
from npu_agent.core.accelerator import Accelerator, Reading
from npu_agent.core.errors import CommandRefused
from npu_agent.host.errors import ShortOfResources
from npu_agent.node.errors import BackendFailed

MAKE_TIMEOUT_S = 10.0
ENTER_TIMEOUT_S = 10.0
LEAVE_TIMEOUT_S = 0.5
SCAN_TIMEOUT_S = 30.0
COMMAND_TIMEOUT_S = 4.0
PREPARE_TIMEOUT_S = 25.0

PATIENCE_S = 1.0
"""Seconds that a backend gets beyond its own timeout before its probe counts as hanging."""

T = TypeVar("T")


class Guarded:
    """A backend that is being made, entered, asked and left by the agent. Every method raises BackendFailed and nothing else.

    Nobody else holds the backend itself.
    """

    def __init__(self, name: str, make: Callable[[], Backend], *, probe_timeout_s: float) -> None:
        self.name = name
        self._make = make
        self._probe_timeout_s = probe_timeout_s
        self._backend: Backend | None = None
        self._entered = False

    @property
    def prepares(self) -> bool:
        """Whether it is to be asked before each start of a container."""
        return isinstance(self._backend, Preparing)

    async def start(self) -> None:
        """Make the backend and enter it."""
        # Its constructor is plain code of somebody else, which may block.
        made = await self._guard("being made", lambda: _in_thread(self._make), MAKE_TIMEOUT_S)
        if not isinstance(made, Backend):
            raise BackendFailed(f"the backend {self.name} failed while being made: {_kind(made)} is no backend")
        self._backend = made
        await self._guard("starting", made.__aenter__, ENTER_TIMEOUT_S)
        self._entered = True

    async def stop(self) -> None:
        """Leave the backend. It may be called in whatever state it is, once."""
        backend, self._backend = self._backend, None
        if backend is not None and self._entered:
            await self._guard("ending", lambda: backend.__aexit__(None, None, None), LEAVE_TIMEOUT_S)

    async def scan(self) -> tuple[tuple[Accelerator, ...], str]:
        """Return what the backend found, and what was wrong with it, empty if nothing: an id that comes twice is taken once."""
        # What somebody else's code returns is anything.
        found: Any = await self._guard("looking for accelerators", self._asked.scan, SCAN_TIMEOUT_S)
        if isinstance(found, str | bytes) or not isinstance(found, Sequence):
            raise BackendFailed(f"the backend {self.name} failed while looking for accelerators: it returned {_kind(found)}")
        wrong = ""
        taken: dict[str, Accelerator] = {}
        for accelerator in found:
            if not isinstance(accelerator, Accelerator):
                wrong = f"it returned {_kind(accelerator)} in place of an accelerator"
            elif not isinstance(accelerator.id, str) or not accelerator.id:
                wrong = "it returned an accelerator without an id"
            elif accelerator.id in taken:
                wrong = f"it returned {accelerator.id} more than once"
            else:
                taken[accelerator.id] = _with_known_numa_node(accelerator, self.name)
        return tuple(taken.values()), wrong and f"the backend {self.name}: {wrong}"

    async def probe(self, accelerator: Accelerator) -> Reading:
        """Return the reading of a card; a backend that fails or hangs is a bad one. Raises ShortOfResources."""
        try:
            reading: Any = await self._guard("probing", lambda: self._asked.probe(accelerator), self._probe_timeout_s + PATIENCE_S)
        except BackendFailed as failure:
            return Reading(False, str(failure))
        if not isinstance(reading, Reading):
            return Reading(False, f"the backend {self.name} failed while probing: it returned {_kind(reading)}")
        return reading

    async def hints(self) -> AsyncIterator[None]:
        """Yield whenever the backend has seen that something may have changed; return where it never does."""
        backend = self._asked
        if not isinstance(backend, Hints):
            return
        try:
            async for _ in backend.hints():
                yield
        except Exception as error:
            raise BackendFailed(f"the backend {self.name} failed while watching: {_told(error)}") from error

    async def prepare(self, accelerators: Sequence[Accelerator]) -> None:
        """Have it prepare its cards for a container that starts."""
        backend = self._asked
        if isinstance(backend, Preparing):
            await self._guard("preparing", lambda: backend.prepare(accelerators), PREPARE_TIMEOUT_S)

    async def command(self, name: str, arguments: Sequence[str]) -> str:
        """Have it carry out a command. Raises CommandRefused too."""
        backend = self._asked
        if not isinstance(backend, Commanded):
            raise CommandRefused(f"the backend {self.name!r} takes no commands, so not {name!r} either")
        try:
            with anyio.fail_after(COMMAND_TIMEOUT_S):
                return str(await backend.command(name, arguments))
        except BackendError as error:
            raise CommandRefused(str(error)) from error
        except TimeoutError as error:
            raise CommandRefused(f"the backend {self.name} did not carry out {name} within {COMMAND_TIMEOUT_S:g} s") from error
        except Exception as error:
            raise CommandRefused(f"the backend {self.name} failed while carrying out {name}: {_told(error)}") from error

    @property
    def _asked(self) -> Backend:
        if self._backend is None:
            raise BackendFailed(f"the backend {self.name} is not running")
        return self._backend

    async def _guard(self, doing: str, ask: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        try:
            with anyio.fail_after(timeout_s):
                return await ask()
        except ShortOfResources:
            raise
        except TimeoutError as error:
            if isinstance(error, OSError) and error.errno:
                raise BackendFailed(f"the backend {self.name} failed while {doing}: {_told(error)}") from error
            raise BackendFailed(f"the backend {self.name} did not answer within {timeout_s:g} s while {doing}") from error
        except BackendError as error:
            raise BackendFailed(f"the backend {self.name} cannot be used ({doing}): {error}") from error
        except OSError as error:
            raise BackendFailed(f"the backend {self.name} failed while {doing}: {error}") from error
        except Exception as error:
            raise BackendFailed(f"the backend {self.name} failed while {doing}: {_told(error)}") from error


async def _in_thread(function: Callable[[], T]) -> T:
    """Return what `function()` returns, called in a thread that is left behind if nobody waits for it any more."""
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    answers: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def call() -> None:
        try:
            answers.put((function(), None))
        except BaseException as error:
            answers.put((None, error))
        try:
            loop.call_soon_threadsafe(done.set)
        except RuntimeError:  # the loop has been closed meanwhile
            return

    threading.Thread(target=call, name="backend maker", daemon=True).start()
    await done.wait()
    result, error = answers.get_nowait()
    if error is not None:
        raise error if isinstance(error, Exception) else RuntimeError(repr(error))
    return result  # type: ignore[no-any-return]


def _with_known_numa_node(accelerator: Accelerator, backend: str) -> Accelerator:
    """Return the accelerator as this backend's, with a NUMA node only where it is known: the kernel writes -1 where it is not."""
    node = accelerator.numa_node
    known = node if isinstance(node, int) and node >= 0 else None
    if known == node and accelerator.backend == backend:
        return accelerator
    return replace(accelerator, numa_node=known, backend=backend)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a value of the type {type(value).__name__}"
