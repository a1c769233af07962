"""Asking a running agent over its Unix socket."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from grpclib.const import Status as Code
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from npu_agent.api.npu_agent.v1 import AgentStub, CommandBackendRequest, GetStatusRequest, ShutdownRequest, Status
from npu_agent.control.errors import AgentRefused, AgentUnreachable
from npu_agent.core.text import printable
from npu_agent.rpc.calls import call
from npu_agent.rpc.channel import BoundedChannel
from npu_agent.rpc.requests import MOST_OF_A_STATUS, whole

SOCKET_NAME = "agent.sock"
ANSWER_TIMEOUT_S = 5.0

MOST_FIELDS = 400_000
"""Fields of an answer: 4 MiB of details have about so many."""


class AgentClient:
    """A connection to the agent whose runtime folder is `runtime_dir`. Every call raises AgentUnreachable and AgentRefused."""

    def __init__(self, runtime_dir: Path) -> None:
        self._socket = runtime_dir / SOCKET_NAME
        self._channel: BoundedChannel | None = None

    async def __aenter__(self) -> "AgentClient":
        self._channel = BoundedChannel(self._socket, most_fields=MOST_FIELDS, only_own=True)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._channel is not None:
            self._channel.close()

    async def status(self, *, with_holders: bool = False, details_of: str = "") -> Status:
        """Return what the agent knows now."""
        with self._told():
            return await call(
                self._stub.get_status(GetStatusRequest(with_holders=with_holders, details_of=details_of), timeout=ANSWER_TIMEOUT_S)
            )

    async def follow(self, *, with_holders: bool = False) -> AsyncIterator[Status]:
        """Yield what the agent knows now, and again after each change, until the agent ends."""
        with self._told():
            async for status in self._stub.watch_status(GetStatusRequest(with_holders=with_holders)):
                yield await whole(status)

    async def command(self, backend: str, command: str, arguments: Sequence[str]) -> str:
        """Have a backend carry out a command and return its answer."""
        request = CommandBackendRequest(backend=backend, command=command, arguments=list(arguments))
        with self._told():
            return (await call(self._stub.command_backend(request, timeout=ANSWER_TIMEOUT_S))).message

    async def shut_down(self) -> None:
        """Ask the agent to end in order; it answers before it ends."""
        with self._told():
            await call(self._stub.shutdown(ShutdownRequest(), timeout=ANSWER_TIMEOUT_S))

    @property
    def _stub(self) -> AgentStub:
        assert self._channel is not None, "used outside its context"
        return AgentStub(self._channel)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (GRPCError, TimeoutError) as error:
            # The agent knows the deadline too, and says so if it is the first to see that it has passed.
            if isinstance(error, GRPCError) and error.status is not Code.DEADLINE_EXCEEDED:
                raise AgentRefused(printable(error.message or error.status.name, MOST_OF_A_STATUS)) from error
            raise AgentUnreachable(f"the agent did not answer on {self._socket} within {ANSWER_TIMEOUT_S:g} s") from error
        except OSError as error:
            raise AgentUnreachable(f"no agent answers on {self._socket}: {error.strerror or error}") from error
        except (StreamTerminatedError, ProtocolError) as error:
            raise AgentUnreachable(f"the agent on {self._socket} ended the connection: {error}") from error
