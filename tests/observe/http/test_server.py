"""Where it listens, how many it takes, and that nothing of it ends the agent, on real sockets."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field

import anyio
import pytest

from npu_agent.observe.http import exchange, server
from npu_agent.observe.http.address import Address, parse
from npu_agent.observe.http.routes import Answer
from npu_agent.observe.http.server import serve_http

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
WITHIN_S = 5.0


async def well() -> Answer:
    return Answer(200, b"ok\n")


@dataclass
class Told:
    """What the server told, with an event for each time."""

    texts: list[str] = field(default_factory=list)
    told: anyio.Event = field(default_factory=anyio.Event)

    def __call__(self, text: str) -> None:
        self.texts.append(text)
        told, self.told = self.told, anyio.Event()
        told.set()

    async def until(self, text: str) -> None:
        with anyio.fail_after(WITHIN_S):
            while not self.texts or text not in self.texts[-1] or (not text and self.texts[-1]):
                await self.told.wait()


@asynccontextmanager
async def serving(address: str) -> AsyncIterator[Told]:
    told = Told()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve_http, parse(address), {"/healthz": well}, told)
        yield told
        tasks.cancel_scope.cancel()


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port: int = probe.getsockname()[1]
        return port


async def get(host: str, port: int) -> bytes:
    with anyio.fail_after(WITHIN_S):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(GET)
        text = await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        return text


HAS_IPV6 = socket.has_dualstack_ipv6()


@pytest.mark.parametrize(
    ("address", "answering"),
    [
        ("127.0.0.1:{port}", {"127.0.0.1"}),
        ("0.0.0.0:{port}", {"127.0.0.1", "127.0.0.2"}),
        (":{port}", {"127.0.0.1", "127.0.0.2", "::1"}),
        ("[::]:{port}", {"127.0.0.1", "127.0.0.2", "::1"}),
        ("[::1]:{port}", {"::1"}),
        ("localhost:{port}", {"127.0.0.1"}),
    ],
)
async def test_it_is_served_where_the_address_says_and_nowhere_else(address: str, answering: set[str]) -> None:
    port = free_port()
    async with serving(address.format(port=port)) as told:
        await told.until("")
        for host in ("127.0.0.1", "127.0.0.2", "::1"):
            if host == "::1" and address.startswith("localhost"):
                continue  # it is where the machine's names say so
            if host in answering:
                assert (await get(host, port)).startswith(b"HTTP/1.1 200 OK")
            else:
                with pytest.raises(OSError):
                    await get(host, port)


async def test_a_machine_without_ipv6_is_served_on_all_addresses_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    create = socket.create_server

    def without_ipv6(address: tuple[str, int], **options: object) -> socket.socket:
        if options["family"] is socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")
        return create(address, **options)  # type: ignore[arg-type]

    port = free_port()
    monkeypatch.setattr(socket, "create_server", without_ipv6)
    async with serving(f":{port}") as told:
        await told.until("")
        assert (await get("127.0.0.1", port)).endswith(b"ok\n")
    async with serving(f"[::1]:{port}") as told:
        await told.until(
            f"nothing can listen on [::1]:{port}: Address family not supported by protocol; choose another address with --http"
        )


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("192.0.2.1:9400", "nothing can listen on 192.0.2.1:9400: Cannot assign requested address; choose another address with --http"),
        ("no-such-host.invalid:9400", "nothing can listen on no-such-host.invalid:9400: "),
    ],
)
async def test_an_address_that_the_machine_does_not_have_is_a_problem_and_no_exit(address: str, why: str) -> None:
    async with serving(address) as told:
        await told.until(why)


async def test_a_port_in_use_is_tried_again_until_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "AGAIN_S", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with serving(f"127.0.0.1:{port}") as told:
            for _ in range(3):
                await told.until("is in use by another program")
                told.texts.append("looked at")
            taken.close()
            await told.until("")
            assert (await get("127.0.0.1", port)).endswith(b"ok\n")


async def test_whoever_holds_many_connections_keeps_no_probe_out() -> None:
    port = free_port()
    async with serving(f"127.0.0.1:{port}") as told:
        await told.until("")
        held = []
        try:
            for _ in range(server.MOST_CONNECTIONS * 2):
                held.append(await asyncio.open_connection("127.0.0.1", port))
                held[-1][1].write(b"GET /healthz HTTP/1.1\r\nX: ")  # and no end
            assert (await get("127.0.0.1", port)).endswith(b"ok\n")
            with anyio.fail_after(WITHIN_S):
                for reader, _ in held[: server.MOST_CONNECTIONS]:
                    with suppress(ConnectionError):
                        assert await reader.read() == b""  # they gave way
            assert not held[-1][0].at_eof()
        finally:
            for _, writer in held:
                writer.transport.abort()


async def test_a_shortage_of_files_is_told_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "AGAIN_S", 0.01)
    loop = asyncio.get_running_loop()
    accept = loop.sock_accept
    failures = iter([OSError(errno.EMFILE, "Too many open files"), OSError(errno.ECONNABORTED, "Software caused connection abort")])

    async def short(listening: socket.socket) -> object:
        for failure in failures:
            raise failure
        return await accept(listening)

    monkeypatch.setattr(loop, "sock_accept", short)
    port = free_port()
    async with serving(f"127.0.0.1:{port}") as told:
        await told.until("no connection can be taken: Too many open files; raise the limit of this process or of this node")
        assert (await get("127.0.0.1", port)).endswith(b"ok\n")
        await told.until("")
    assert not any("abort" in text for text in told.texts)


async def test_a_fault_of_ours_in_one_connection_ends_that_one_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    faults = iter([RuntimeError("a fault of ours")])

    async def faulty(*arguments: object) -> None:
        for fault in faults:
            raise fault
        await exchange.converse(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(server, "converse", faulty)
    port = free_port()
    async with serving(f"127.0.0.1:{port}") as told:
        await told.until("")
        with suppress(ConnectionError):
            assert await get("127.0.0.1", port) == b""
        assert (await get("127.0.0.1", port)).endswith(b"ok\n")
    assert "a fault of ours" in caplog.text


async def test_the_log_says_where_it_is_served(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with serving("127.0.0.1:0") as told:
        await told.until("")
        await anyio.lowlevel.checkpoint()
    (record,) = caplog.records
    assert record.message.startswith("serving /healthz over HTTP on 127.0.0.1:")
    assert record.event == "http_serving"  # type: ignore[attr-defined]
    assert str(Address("127.0.0.1", 0)) not in record.message
