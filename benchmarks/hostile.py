"""What a bad peer can do: how long its worst request keeps others waiting, and what its attacks leave in memory."""

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import DataReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from benchmarks.agent import SYSFS, running_agent, site
from benchmarks.figure import Figure
from benchmarks.kubelet import running_kubelet
from benchmarks.standing import rss_mib
from benchmarks.wire import Caller
from npu_agent.api.v1beta1 import (
    AllocateRequest,
    ContainerAllocateRequest,
    ContainerPreferredAllocationRequest,
    PreferredAllocationRequest,
    PreStartContainerRequest,
)
from tests.program import agent_pid

CARDS = 8
MIB = 1024 * 1024
WINDOW = 4 * MIB - 1024
"""Bytes that our servers let a peer send before they have read any; with the prefix a request of so many is sent at one go."""

CALM_S = 0.5
FLOOD_S = 3.0
CONNECTIONS = 100


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme."""
    async with site(CARDS) as where, running_kubelet(where.device_plugins) as kubelet, running_agent(where, SYSFS) as agent:
        listed = await kubelet.list_with(healthy=CARDS)
        ids = [device.id for device in listed.message.devices]
        async with Caller(kubelet.endpoint) as plugin:
            empty = [await plugin.call_ms("GetDevicePluginOptions") for _ in range(200)]
            usual = rss_mib(agent_pid(agent.pid))
            worst = [await _stands_ms(plugin, kubelet.endpoint, method, request) for method, request in bad_requests(ids)]
            await asyncio.sleep(CALM_S)
            grown = [rss_mib(agent_pid(agent.pid)) - usual]
            for attack in (resets, announcements, connections):
                await asyncio.to_thread(attack, kubelet.endpoint)
                await asyncio.sleep(CALM_S)
                grown.append(rss_mib(agent_pid(agent.pid)) - usual)
                await plugin.call_ms("GetDevicePluginOptions")  # it is still there, and serves
    yield Figure("bad_request_worst_ms", max(worst), 100, max(empty), "the slowest empty call without it", len(worst))
    yield Figure("bad_peer_mib", max(0.0, *grown), 20, 0.0, "none", len(grown))


def bad_requests(ids: list[str]) -> Iterator[tuple[str, bytes]]:
    """Yield calls that no kubelet makes, each of at most 4 MiB; `ids` are those of devices that there are."""
    unknown = [f"{random.getrandbits(128):032x}" for _ in range(100_000)]
    yield "Allocate", _allocate([unknown[:10_000]])
    yield "Allocate", _allocate([unknown])
    yield "Allocate", _allocate([ids * 4000])
    yield "Allocate", _allocate([ids] * 64)
    yield "Allocate", _allocate([ids[:1]] * 50_000)
    yield "Allocate", b"\x0a\x00" * (WINDOW // 2)
    yield "Allocate", b"\x12\x00" * (WINDOW // 2)
    yield "Allocate", _allocate([["x" * (WINDOW - 16)]])
    yield "Allocate", _allocate([["\x1b" * 1000] * 4000])
    yield "Allocate", b"\xff" * WINDOW
    yield "PreStartContainer", bytes(PreStartContainerRequest(device_ids=unknown))
    yield "PreStartContainer", b"\x0a\x00" * (WINDOW // 2)
    for available, must, size in (
        (unknown, [], 64),
        (unknown[:50_000], unknown[50_000:], 90_000),
        (ids, ids * 4000, 8),
        (ids, [], 2**31 - 1),
    ):
        inner = ContainerPreferredAllocationRequest(available_device_ids=available, must_include_device_ids=must, allocation_size=size)
        yield "GetPreferredAllocation", bytes(PreferredAllocationRequest(container_requests=[inner]))
    inner = ContainerPreferredAllocationRequest(available_device_ids=ids, must_include_device_ids=ids[:1], allocation_size=4)
    yield "GetPreferredAllocation", bytes(PreferredAllocationRequest(container_requests=[inner] * 64))
    yield "GetPreferredAllocation", bytes(PreferredAllocationRequest(container_requests=[inner] * 9000))


def _allocate(containers: list[list[str]]) -> bytes:
    return bytes(AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=ids) for ids in containers]))


async def _stands_ms(plugin: Caller, path: Path, method: str, request: bytes) -> float:
    """Return the longest that another caller waited for an empty call while `request` was sent, read and answered."""
    sending = asyncio.create_task(asyncio.to_thread(_answered, path, method, request))
    longest = 0.0
    while not sending.done():
        longest = max(longest, await plugin.call_ms("GetDevicePluginOptions"))
    await sending
    return longest


class _Peer:
    """A connection that blocks, on which calls are begun that need not be honest."""

    def __init__(self, path: Path) -> None:
        self.http = H2Connection(H2Configuration(client_side=True, header_encoding="ascii"))
        self.http.initiate_connection()
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(30)
        self.socket.connect(str(path))
        self.flush()
        # The server's first frames say how much may be sent.
        while self.http.outbound_flow_control_window < WINDOW or self.http.remote_settings.initial_window_size < WINDOW:
            self.http.receive_data(self.socket.recv(MIB))
        self.http.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 1_000_000
        self.http.remote_settings.acknowledge()

    def open(self, method: str) -> int:
        stream = self.http.get_next_available_stream_id()
        named = [(":method", "POST"), (":scheme", "http"), (":path", f"/v1beta1.DevicePlugin/{method}"), (":authority", "localhost")]
        self.http.send_headers(stream, [*named, ("te", "trailers"), ("content-type", "application/grpc")])
        return stream

    def send(self, stream: int, data: bytes, *, end: bool = False) -> None:
        size = self.http.max_outbound_frame_size
        for at in range(0, len(data), size):
            self.http.send_data(stream, data[at : at + size], end_stream=end and at + size >= len(data))

    def flush(self) -> None:
        self.socket.sendall(self.http.data_to_send())


def _answered(path: Path, method: str, request: bytes) -> None:
    """Send the request and return when an answer has ended."""
    peer = _Peer(path)
    with peer.socket:
        peer.send(peer.open(method), len(request).to_bytes(5) + request, end=True)
        peer.flush()
        while data := peer.socket.recv(MIB):
            for event in peer.http.receive_data(data):
                if isinstance(event, DataReceived):
                    peer.http.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded | StreamReset):
                    return
            peer.flush()


def _until_cut(path: Path, attack: Callable[[_Peer], None]) -> None:
    """Attack for some seconds, on a new connection whenever the old one is ended."""
    until = time.monotonic() + FLOOD_S
    while time.monotonic() < until:
        try:
            peer = _Peer(path)
            with peer.socket:
                while time.monotonic() < until:
                    attack(peer)
        except OSError:
            continue


def resets(path: Path) -> None:
    """Begin calls and take them back in the same write, over and over."""

    def attack(peer: _Peer) -> None:
        for _ in range(50):
            peer.http.reset_stream(peer.open("Allocate"), ErrorCodes.CANCEL)
        peer.flush()

    _until_cut(path, attack)


def announcements(path: Path) -> None:
    """Announce messages of 2 GiB and of 4 MiB, and send what may be sent of them."""

    def attack(peer: _Peer) -> None:
        peer.send(peer.open("Allocate"), (2 * 1024 * MIB).to_bytes(5))
        peer.send(peer.open("Allocate"), (4 * MIB).to_bytes(5) + b"x" * MIB)
        peer.flush()
        raise ConnectionError

    _until_cut(path, attack)


def connections(path: Path) -> None:
    """Hold many connections, each with many calls that go on for ever."""
    peers = []
    try:
        for _ in range(CONNECTIONS):
            try:
                peer = _Peer(path)
            except OSError:
                continue
            peers.append(peer)
            try:
                for _ in range(100):
                    peer.send(peer.open("ListAndWatch"), (0).to_bytes(5), end=True)
                peer.flush()
            except OSError:
                continue
        time.sleep(CALM_S)
    finally:
        for peer in peers:
            peer.socket.close()
