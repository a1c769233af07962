"""Calls of a plugin whose messages stay bytes: kubelet reads them in Go, and our reading of them is nothing that it waits for."""

import time
from pathlib import Path
from types import TracebackType
from typing import Any

from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase


class _Bytes(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


class Caller:
    """One connection to the plugin that listens on `path`."""

    def __init__(self, path: Path) -> None:
        self._channel = Channel(path=str(path), codec=_Bytes())

    async def __aenter__(self) -> "Caller":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._channel.close()

    async def call_ms(self, method: str, request: bytes = b"") -> float:
        """Return how long a call takes, to the end of its answer."""
        call = UnaryUnaryMethod(self._channel, f"/v1beta1.DevicePlugin/{method}", bytes, bytes)
        started = time.perf_counter()
        await call(request)
        return (time.perf_counter() - started) * 1000

    async def first_message_ms(self, method: str) -> float:
        """Return how long a stream takes to its first message."""
        stream_of = UnaryStreamMethod(self._channel, f"/v1beta1.DevicePlugin/{method}", bytes, bytes)
        started = time.perf_counter()
        async with stream_of.open() as stream:
            await stream.send_message(b"", end=True)
            await stream.recv_message()
            taken = time.perf_counter() - started
            await stream.cancel()
        return taken * 1000
