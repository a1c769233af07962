"""A peer that speaks HTTP/2 by itself, and so can say what no gRPC library would."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

HEADERS = (
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/v1beta1.DevicePlugin/Allocate"),
    (":authority", "localhost"),
    ("te", "trailers"),
    ("content-type", "application/grpc"),
)


class HostileClient:
    """A connection on which anything can be written."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._http = H2Connection(H2Configuration(client_side=True, validate_outbound_headers=False))
        self._http.initiate_connection()

    async def flush(self) -> None:
        self._writer.write(self._http.data_to_send())
        await self._writer.drain()

    def open(self, *, path: str = "/v1beta1.DevicePlugin/Allocate") -> int:
        """Begin a call; nothing is sent before `flush`."""
        stream = self._http.get_next_available_stream_id()
        self._http.send_headers(stream, [(name, path if name == ":path" else value) for name, value in HEADERS])
        return stream

    def announce(self, stream: int, size: int) -> None:
        """Announce a message of `size` bytes."""
        self._http.send_data(stream, b"\0" + size.to_bytes(4, "big"))

    def data(self, stream: int, data: bytes) -> None:
        self._http.send_data(stream, data)

    def reset(self, stream: int) -> None:
        self._http.reset_stream(stream, ErrorCodes.CANCEL)

    async def has_ended(self) -> bool:
        """Return when the server has closed the connection."""
        try:
            while await self._reader.read(65536):
                pass
        except ConnectionResetError:
            return True
        return True


@asynccontextmanager
async def hostile_client(path: Path) -> AsyncIterator[HostileClient]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        client = HostileClient(reader, writer)
        await client.flush()
        yield client
    finally:
        writer.close()
