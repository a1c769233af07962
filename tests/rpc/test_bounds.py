"""Peers that send more than they should, on real sockets: what they cost, and that others are served meanwhile."""

import asyncio
import struct
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.server import Server

from npu_agent.api.npu_agent.v1 import AgentBase, AgentStub, GetStatusRequest
from npu_agent.api.npu_agent.v1 import Status as AgentStatus
from npu_agent.api.v1beta1 import AllocateRequest, ContainerAllocateRequest, Empty
from npu_agent.rpc import bounds
from npu_agent.rpc.bounds import MOST_BYTES, _Framing
from npu_agent.rpc.calls import call
from npu_agent.rpc.channel import BoundedChannel
from npu_agent.rpc.serving import MOST_CONNECTIONS
from tests.deviceplugin.served import Plugin, serving
from tests.rpc.hostile import HostileClient, hostile_client

LONG = 8 * 1024 * 1024 * 1024 // 4


def streams_of(plugin: Plugin) -> int:
    """Return how many calls of peers the server of the plugin has not ended."""
    handlers = plugin.socket._server._handlers
    return sum(not task.done() for handler in handlers for task in (*handler._tasks.values(), *handler._cancelled))


async def eventually(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(5):
        while not holds():  # noqa: ASYNC110 - grpclib tells nobody
            await asyncio.sleep(0.001)


async def test_a_message_that_is_announced_too_large_ends_its_stream_before_it_comes(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet), hostile_client(plugin.socket.path) as peer:
        stream = peer.open()
        peer.announce(stream, LONG - 1)
        await peer.flush()
        await kubelet.get_device_plugin_options(Empty())
        await eventually(lambda: plugin.socket._server.in_flight.bytes == 0)
        await eventually(lambda: streams_of(plugin) <= 1)


async def test_all_that_is_announced_at_once_is_bounded_over_all_connections(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet):
        async with hostile_client(plugin.socket.path) as one, hostile_client(plugin.socket.path) as other:
            for peer in (one, other):
                for _ in range(4):
                    peer.announce(peer.open(), MOST_BYTES)
                await peer.flush()
            await kubelet.get_device_plugin_options(Empty())
            await eventually(lambda: 0 < plugin.socket._server.in_flight.bytes <= plugin.socket._server.in_flight.most_bytes)
        await eventually(lambda: plugin.socket._server.in_flight.bytes == 0)


async def test_a_flood_of_streams_that_are_reset_leaves_nothing_and_ends_the_connection(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet):
        async with hostile_client(plugin.socket.path) as peer:
            with pytest.raises(ConnectionError):
                await flood(peer)
        await eventually(lambda: plugin.socket.connections == 0)
        await kubelet.get_device_plugin_options(Empty())
        await eventually(lambda: streams_of(plugin) <= 1)


async def flood(peer: HostileClient) -> None:
    """Open streams and reset them in one write, over and over."""
    for _ in range(1000):
        for _ in range(50):
            peer.reset(peer.open())
        await peer.flush()
        await asyncio.sleep(0)


async def test_more_calls_at_once_on_a_connection_than_there_may_be_are_refused(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet), hostile_client(plugin.socket.path) as peer:
        for _ in range(bounds.MOST_STREAMS * 3):
            peer.data(peer.open(path="/v1beta1.DevicePlugin/ListAndWatch"), b"\0" * 5)
        await peer.flush()
        await eventually(lambda: plugin.socket.streams == bounds.MOST_STREAMS)
        await kubelet.get_device_plugin_options(Empty())
        assert plugin.socket.streams_seen == bounds.MOST_STREAMS


async def test_resets_in_the_ordinary_course_end_nothing(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, _), hostile_client(plugin.socket.path) as peer:
        for _ in range(bounds.MOST_RESETS):
            peer.reset(peer.open())
        await peer.flush()
        await eventually(lambda: streams_of(plugin) == 0)
        assert plugin.socket.connections == 1


async def test_data_that_says_nothing_is_not_kept(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet), hostile_client(plugin.socket.path) as peer:
        stream = peer.open()
        for _ in range(1000):
            peer.data(stream, b"")
        await peer.flush()
        await kubelet.get_device_plugin_options(Empty())
        kept = [stream.buffer for handler in plugin.socket._server._handlers for stream in handler._tasks]
        assert sum(buffer._unacked.qsize() for buffer in kept) < 10


async def test_more_connections_than_there_may_be_are_ended(tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet), anyio.create_task_group() as tasks:
        await kubelet.get_device_plugin_options(Empty())
        ended = anyio.Event()

        async def connect() -> None:
            async with hostile_client(plugin.socket.path) as peer:
                if await peer.has_ended():
                    ended.set()

        for _ in range(MOST_CONNECTIONS + 5):
            tasks.start_soon(connect)
        with anyio.fail_after(5):
            await ended.wait()
        await eventually(lambda: plugin.socket.connections <= MOST_CONNECTIONS)
        await kubelet.get_device_plugin_options(Empty())
        tasks.cancel_scope.cancel()


async def test_a_request_for_ten_thousand_unknown_devices_is_refused_in_a_few_words(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, kubelet):
        request = AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=[f"unknown-{n}" for n in range(10_000)])])
        with anyio.fail_after(5), pytest.raises(GRPCError) as refused:
            await kubelet.allocate(request)
    assert refused.value.status is Status.NOT_FOUND
    assert refused.value.message is not None
    assert "10000 are asked for (unknown-0, unknown-1" in refused.value.message
    assert "and 9995 more" in refused.value.message
    assert len(refused.value.message) < 1000


async def test_ids_that_would_steer_a_terminal_are_repeated_as_plain_text(tmp_path: Path) -> None:
    async with serving(tmp_path) as (_, kubelet):
        with pytest.raises(GRPCError) as refused:
            await kubelet.allocate(AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=["\x1b[2J"])]))
    assert str(refused.value.message).startswith("furiosa.ai/npu has no device \\x1b[2J any more")


async def test_the_largest_request_does_not_stand_in_the_way_of_others(tmp_path: Path) -> None:
    """It is read beside the loop, which is free meanwhile."""
    async with serving(tmp_path) as (plugin, kubelet), hostile_client(plugin.socket.path) as peer:
        stream = peer.open()
        message = b"\x0a\x02\x0a\x00" * (60_000 // 4)
        peer.data(stream, (b"\0" + struct.pack(">I", len(message)) + message)[:16384])
        await peer.flush()
        with anyio.fail_after(5):
            await kubelet.get_device_plugin_options(Empty())


class Liar:
    """A server that announces more than anybody takes, and then sends it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.events import RequestReceived

        http = H2Connection(H2Configuration(client_side=False))
        http.initiate_connection()
        writer.write(http.data_to_send())
        try:
            while data := await reader.read(65536):
                for event in http.receive_data(data):
                    if isinstance(event, RequestReceived):
                        http.send_headers(event.stream_id, [(":status", "200"), ("content-type", "application/grpc")])
                        http.send_data(event.stream_id, b"\0" + (2 << 30).to_bytes(4, "big") + b"x" * 1000)
                writer.write(http.data_to_send())
        except ConnectionError:
            return
        finally:
            writer.close()


async def test_an_answer_that_is_announced_too_large_is_not_taken(short_dir: Path) -> None:
    path = short_dir / "liar.sock"
    server = await asyncio.start_unix_server(Liar(path).serve, str(path))
    channel = BoundedChannel(path)
    try:
        with (
            anyio.fail_after(5),
            pytest.raises(StreamTerminatedError, match="2147483648 bytes is announced, and at most 4194304"),
        ):
            await call(AgentStub(channel).get_status(GetStatusRequest()))
    finally:
        channel.close()
        server.close()
        await server.wait_closed()


class Generous(AgentBase):
    async def get_status(self, message: GetStatusRequest) -> AgentStatus:
        return AgentStatus(version="x" * (MOST_BYTES - 1000))


async def test_an_answer_within_the_bound_is_taken(short_dir: Path) -> None:
    server = Server([Generous()])
    await server.start(path=str(short_dir / "agent.sock"))
    channel = BoundedChannel(short_dir / "agent.sock")
    try:
        assert len((await call(AgentStub(channel).get_status(GetStatusRequest()))).version) == MOST_BYTES - 1000
    finally:
        channel.close()
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize("pieces", [1, 2, 3, 7, 1000])
def test_messages_are_counted_however_they_are_cut(pieces: int) -> None:
    messages = [b"\0" + struct.pack(">I", size) + b"x" * size for size in (0, 5, 700, 3)]
    data = b"".join(messages)
    framing, largest = _Framing(), 0
    for at in range(0, len(data), pieces):
        largest = max(largest, framing.take(data[at : at + pieces]))
    assert (largest, framing.left, framing.prefix) == (700, 0, b"")
