"""kubelet's client of one plugin: dials as grpc-go does, takes messages up to its limit, and is cut or closed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from h2.events import RemoteSettingsChanged

from npu_agent.api.v1beta1 import DevicePluginStub, Empty, ListAndWatchResponse
from npu_agent.simulator.errors import DeviceError

if TYPE_CHECKING:
    from grpclib._typing import IProtoMessage

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""What grpc-go takes in one message unless told otherwise, and kubelet does not tell it."""

FIRST_RETRY_S = 1.0
RETRY_FACTOR = 1.6
"""How grpc-go spaces its tries to connect, jitter aside."""


class PluginClient:
    """One connection to one socket of a plugin."""

    def __init__(self, resource: str, socket_path: Path) -> None:
        self.resource = resource
        self.socket_path = socket_path
        self._channel = _PluginChannel(socket_path)
        self.stub = DevicePluginStub(self._channel)

    async def dial(self, *, timeout_s: float) -> None:
        """Return when the plugin's HTTP/2 settings have come. Raises DeviceError in kubelet's words."""
        wait_s = FIRST_RETRY_S
        try:
            with anyio.fail_after(timeout_s):
                while not await self._channel.connect():
                    await anyio.sleep(wait_s)
                    wait_s *= RETRY_FACTOR
        except TimeoutError as error:
            self.close()
            raise DeviceError("failed to dial device plugin: context deadline exceeded") from error

    async def lists(self) -> AsyncIterator[ListAndWatchResponse]:
        """Yield what ListAndWatch sends. Whatever ends the stream, its normal end too, ends the iteration or raises."""
        async for message in self.stub.list_and_watch(Empty()):
            yield message

    def close(self) -> None:
        """Close the connection for good, as kubelet does when it is done with a plugin."""
        self._channel.close()

    def cut(self) -> bool:
        """Lose the connection without a word; say whether there was one.

        As with grpc-go, calls that were under way fail and the next one connects anew.
        """
        return self._channel.cut()


class _PluginChannel(Channel):
    def __init__(self, socket_path: Path) -> None:
        super().__init__(path=str(socket_path), codec=_LimitedCodec(), config=Configuration())
        self._authority = "localhost"
        self._connection: _Connection | None = None
        self._is_closed = False

    async def __connect__(self) -> H2Protocol:
        protocol = None if self._is_closed else await super().__connect__()
        if protocol is None or self._is_closed:
            super().close()  # it may have been closed while it connected
            raise ConnectionResetError("the client connection is closing")
        return protocol

    def close(self) -> None:
        self._is_closed = True
        super().close()

    async def connect(self) -> bool:
        """Try once to connect and wait for the plugin's settings; say whether they came."""
        try:
            await self.__connect__()
        except OSError:
            return False
        assert self._connection is not None
        await self._connection.settled.wait()
        return self._connection.has_settings

    def cut(self) -> bool:
        transport = self._connection.transport if self._connection is not None else None
        if transport is None or transport.is_closing():
            return False
        transport.abort()
        return True

    def _protocol_factory(self) -> H2Protocol:
        self._connection = _Connection(super()._protocol_factory())
        return self._connection


class _Connection(H2Protocol):
    """Tells when the server's settings came: grpc-go calls a connection ready only then."""

    def __init__(self, plain: H2Protocol) -> None:
        super().__init__(plain.handler, plain.config, plain.h2_config)
        self.settled = asyncio.Event()
        self.has_settings = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        super().connection_made(transport)
        self.processor.processors[RemoteSettingsChanged] = self._settings

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.settled.set()

    def _settings(self, event: RemoteSettingsChanged) -> None:
        self.has_settings = True
        self.settled.set()
        self.processor.process_remote_settings_changed(event)


class _LimitedCodec(ProtoCodec):
    def decode(self, data: bytes, message_type: type["IProtoMessage"]) -> "IProtoMessage":
        if len(data) > MAX_MESSAGE_BYTES:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, f"grpc: received message larger than max ({len(data)} vs. {MAX_MESSAGE_BYTES})")
        return super().decode(data, message_type)
