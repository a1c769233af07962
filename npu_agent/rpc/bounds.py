"""Bounds on what a peer can make us keep: grpclib has none for the size of a message, for streams that are reset, or for what they leave.

The same holds for servers and clients: whoever listens in the place of a peer that we call is a peer too.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from grpclib.config import Configuration
from grpclib.protocol import AbstractHandler, Connection, EventsProcessor, H2Protocol, Stream
from h2.config import H2Configuration
from h2.errors import ErrorCodes
from h2.events import DataReceived, RequestReceived, StreamReset
from h2.settings import SettingCodes

MOST_BYTES = 4 * 1024 * 1024
"""Bytes of one message. It is what gRPC for Go takes by default, and so what kubelet does."""

MOST_RESETS = 100
RESETS_PER_S = 10.0
"""Streams that a peer may reset on one connection: so many at once, and so many more each second. After that the connection ends."""

MOST_STREAMS = 16
"""Calls at a time on one connection of a server. kubelet has its list and one more."""

MOST_IN_FLIGHT_BYTES = 8 * 1024 * 1024
"""Bytes of messages that have been announced on all connections of a server together and have not been taken yet."""

_PREFIX_BYTES = 5


class InFlight:
    """Bytes that are announced and still to come, of all connections that share it."""

    def __init__(self, most_bytes: int = MOST_IN_FLIGHT_BYTES) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0


@dataclass(slots=True)
class _Framing:
    """How far the messages of one stream have come: what is there of the next prefix, and how much of a message is still to come."""

    prefix: bytes = b""
    left: int = 0

    def take(self, data: bytes) -> int:
        """Take `data`, and return the size of the largest message that is announced in it, else 0."""
        at = largest = 0
        while at < len(data):
            if self.left:
                step = min(self.left, len(data) - at)
                self.left -= step
                at += step
                continue
            step = _PREFIX_BYTES - len(self.prefix)
            self.prefix += data[at : at + step]
            at += step
            if len(self.prefix) == _PREFIX_BYTES:
                self.left = int.from_bytes(self.prefix[1:])
                self.prefix = b""
                largest = max(largest, self.left)
        return largest


class BoundedProcessor(EventsProcessor):
    """Ends streams that announce more than `most_bytes`, and connections that reset too many; lets go of each stream that ended."""

    def __init__(
        self, handler: AbstractHandler, connection: Connection, most_bytes: int, in_flight: InFlight | None, end: Callable[[], None]
    ) -> None:
        super().__init__(handler, connection)
        self._in_flight = in_flight
        self._most_bytes = most_bytes
        self._end = end
        self._framing: dict[int, _Framing] = {}
        self._announced: dict[int, int] = {}
        self._resets = 0
        self._began = time.monotonic()

    def register(self, stream: Stream) -> Callable[[], None]:
        """Return what lets go of the stream, which may be called more than once."""
        assert stream.id is not None
        id = stream.id
        self.streams[id] = stream
        self._framing[id] = _Framing()

        def release() -> None:
            self._let_go(stream)

        return release

    def process_request_received(self, event: RequestReceived) -> None:
        """Take a call, or refuse it where there are too many: whoever has not acknowledged our settings is not held by them."""
        if len(self.streams) < MOST_STREAMS:
            super().process_request_received(event)
            return
        self.connection.create_stream(stream_id=event.stream_id).reset_nowait(ErrorCodes.REFUSED_STREAM)
        self._count_reset()

    def process_data_received(self, event: DataReceived) -> None:
        """Look at what is announced before any of it is kept."""
        if not event.flow_controlled_length:
            return  # it says nothing, and nothing bounds how many of its kind may come
        framing = self._framing.get(event.stream_id)
        announced = framing.take(event.data) if framing else 0
        super().process_data_received(event)
        if not announced or (stream := self.streams.get(event.stream_id)) is None or framing is None:
            return
        if announced > self._most_bytes or not self._has_room(event.stream_id, announced):
            stream.__terminated__(f"a message of {announced} bytes is announced, and at most {self._most_bytes} are taken at once")
            self.handler.cancel(stream)  # a call that has not begun would wait for its message for ever
            if stream.closable:
                stream.reset_nowait(ErrorCodes.ENHANCE_YOUR_CALM)
            self._let_go(stream)

    def process_stream_reset(self, event: StreamReset) -> None:
        """Let go of a stream at once: grpclib keeps one for ever whose call had not begun."""
        stream = self.streams.get(event.stream_id)
        super().process_stream_reset(event)
        if stream is not None:
            self._let_go(stream)
        if event.remote_reset:
            self._count_reset()

    def _count_reset(self) -> None:
        self._resets += 1
        if self._resets > MOST_RESETS + RESETS_PER_S * (time.monotonic() - self._began):
            self._end()

    def close(self, reason: str = "Connection closed") -> None:
        super().close(reason)
        for id in list(self._announced):
            self._forget_announced(id)
        for stream in self.streams.values():
            _discard(stream)
        self.streams.clear()
        self._framing.clear()

    def _has_room(self, id: int, announced: int) -> bool:
        """Note what a stream announced, and return whether all of what is announced may come. Streams of a client's are not counted."""
        if self._in_flight is None:
            return True
        self._announced[id] = self._announced.get(id, 0) + announced
        self._in_flight.bytes += announced
        return self._in_flight.bytes <= self._in_flight.most_bytes

    def _forget_announced(self, id: int) -> None:
        announced = self._announced.pop(id, 0)
        if self._in_flight is not None:
            self._in_flight.bytes -= announced

    def _let_go(self, stream: Stream) -> None:
        assert stream.id is not None
        self._framing.pop(stream.id, None)
        self._forget_announced(stream.id)
        if self.streams.pop(stream.id, None) is None:
            return
        self.connection.stream_close_waiter.set()
        if not self.connection.is_closing():
            self.connection.ack(stream.id, stream.buffer.unacked_size())
        _discard(stream)


def _discard(stream: Stream) -> None:
    """Let go of what a stream was sent: it is part of a cycle, and would keep it until the collector comes by."""
    stream.buffer.unacked_size()
    stream.buffer._acked.clear()  # noqa: SLF001 - grpclib has no other way


class BoundedProtocol(H2Protocol):
    """A connection within the bounds."""

    def __init__(
        self,
        handler: AbstractHandler,
        config: Configuration,
        h2_config: H2Configuration,
        *,
        most_bytes: int = MOST_BYTES,
        in_flight: InFlight | None = None,
    ) -> None:
        super().__init__(handler, config, h2_config)
        self._most_bytes = most_bytes
        self._in_flight = in_flight

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        if not self.h2_config.client_side:
            http = self.connection._connection  # noqa: SLF001 - grpclib has no setting for it
            http.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: MOST_STREAMS})
            self.connection.flush()
        self.processor = BoundedProcessor(self.handler, self.connection, self._most_bytes, self._in_flight, transport.abort)
