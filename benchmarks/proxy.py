"""A way to an API server that counts what goes over it: connections, and bytes as they are on the wire, TLS included."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass
class Traffic:
    """What went over it. `to_server` and `to_client` are bytes."""

    connections: int = 0
    to_server: int = 0
    to_client: int = 0
    url: str = ""


@asynccontextmanager
async def counted(port: int) -> AsyncIterator[Traffic]:
    """Yield the traffic of a port of its own that leads to `port`, both on the loopback address."""
    traffic = Traffic()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream, down = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.transport.abort()
            return
        traffic.connections += 1

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, *, up: bool) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    if up:
                        traffic.to_server += len(data)
                    else:
                        traffic.to_client += len(data)
                    target.write(data)
                    await target.drain()
            target.transport.abort()

        await asyncio.gather(copy(reader, down, up=True), copy(upstream, writer, up=False))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=2048)
    traffic.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield traffic
    finally:
        server.close()
