"""The agent's own API, as the agent serves it on its Unix socket."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import anyio
from grpclib.const import Status as Code

from npu_agent.api.npu_agent.v1 import (
    AgentBase,
    CommandBackendRequest,
    CommandBackendResponse,
    GetStatusRequest,
    ShutdownRequest,
    ShutdownResponse,
    Status,
)
from npu_agent.control.client import SOCKET_NAME
from npu_agent.control.errors import SocketUnusable
from npu_agent.core.errors import CommandRefused
from npu_agent.flow.current import Current
from npu_agent.rpc.late import LateService
from npu_agent.rpc.requests import refusal, whole
from npu_agent.rpc.serving import KnownServer, accept_no_more
from npu_agent.rpc.sockets import bind_private

if TYPE_CHECKING:
    from npu_agent.control.health import HealthService
    from npu_agent.core.probing import Verdict

HEALTH_METHODS = ("/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch")

WATCH_AGAIN_S = 2.0
"""Seconds between two looks for followers that want holders: kubelet does not tell when those change."""


class Probes(Protocol):
    """Who knows how the agent stands, for probes."""

    async def live(self) -> "Verdict":
        """Return whether the loop turns and our own sockets answer."""

    def ready(self) -> "Verdict":
        """Return whether kubelet has all resources that have devices."""

    def resources(self) -> "Mapping[str, Verdict]":
        """Return for each resource whether kubelet has it."""


class Agent(Protocol):
    """What the services need of the agent."""

    @property
    def probes(self) -> Probes:
        """How it stands."""

    async def status(self, *, with_holders: bool, details_of: str) -> Status:
        """Return what the agent knows now."""

    @property
    def changes(self) -> Current[int]:
        """A count that grows with each change of what `status` shows."""

    async def command(self, backend: str, command: str, arguments: Sequence[str]) -> str:
        """Carry out a command of a backend. Raises CommandRefused."""

    def shut_down(self) -> None:
        """Begin to end."""


class AgentService(AgentBase):
    """Answers `npu-agent list`, `fake` and `serve --replace`."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    async def get_status(self, message: GetStatusRequest) -> Status:
        """Say what there is now."""
        request = await whole(message)
        return await self._agent.status(with_holders=request.with_holders, details_of=request.details_of)

    async def watch_status(self, message: GetStatusRequest) -> AsyncIterator[Status]:
        """Say it at once and again when it differs."""
        request = await whole(message)
        last: bytes | None = None
        changes = self._agent.changes
        while True:
            # Counted before the look, so that what changes while it is told is told next.
            seen = changes.value
            status = await self._agent.status(with_holders=request.with_holders, details_of=request.details_of)
            if bytes(status) != last:
                last = bytes(status)
                yield status
            with anyio.move_on_after(WATCH_AGAIN_S if request.with_holders else float("inf")):
                while changes.value == seen:
                    await changes.changed()

    async def command_backend(self, message: CommandBackendRequest) -> CommandBackendResponse:
        """Pass a command on to a backend."""
        try:
            request = await whole(message)
            answer = await self._agent.command(request.backend, request.command, request.arguments)
        except CommandRefused as error:
            raise refusal(Code.INVALID_ARGUMENT, str(error)) from error
        return CommandBackendResponse(message=answer)

    async def shutdown(self, message: ShutdownRequest) -> ShutdownResponse:
        """Answer, then end."""
        asyncio.get_running_loop().call_later(0.01, self._agent.shut_down)
        return ShutdownResponse()


class AgentSocket:
    """The agent's socket, which can be made again where somebody removed it."""

    def __init__(self, agent: Agent, runtime_dir: Path) -> None:
        self._path = runtime_dir / SOCKET_NAME
        self._server = KnownServer([AgentService(agent), LateService(HEALTH_METHODS, lambda: _health(agent))])
        self._listening: list[tuple[socket.socket, asyncio.Server]] = []

    async def listen(self) -> None:
        """Make the socket's file and listen there. What was left behind by another agent is removed: the lock is ours. Raises OSError.

        What listened before, on a file that somebody removed, listens no more; its connections stay.
        """
        self._path.unlink(missing_ok=True)
        listening = bind_private(self._path)
        try:
            with anyio.CancelScope(shield=True):
                server = await asyncio.get_running_loop().create_unix_server(self._server.connection, sock=listening)
        except BaseException:
            listening.close()
            raise
        before, self._listening = self._listening, [(listening, server)]
        for _, unreachable in before:
            unreachable.close()

    async def close(self) -> None:
        """Take no more calls, and remove the file where that can be."""
        await accept_no_more(listening for listening, _ in self._listening)
        for _, server in self._listening:
            server.close()
        self._server.close_connections()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _health(agent: Agent) -> "HealthService":
    from npu_agent.control.health import HealthService

    return HealthService(agent.probes, agent.changes)


@asynccontextmanager
async def serving(agent: Agent, runtime_dir: Path) -> AsyncIterator[AgentSocket]:
    """Serve `agent` on the socket below `runtime_dir` while entered. Only the owner of the folder can connect.

    The caller holds the lock of the folder. Raises SocketUnusable.
    """
    made = AgentSocket(agent, runtime_dir)
    try:
        await made.listen()
    except OSError as error:
        raise SocketUnusable(
            f"the agent's socket cannot be made in {runtime_dir}: {error.strerror or error}; choose another folder with --runtime-dir"
        ) from error
    try:
        yield made
    finally:
        with anyio.CancelScope(shield=True):
            await made.close()
