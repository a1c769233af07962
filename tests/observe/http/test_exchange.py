"""What the server says to peers that keep the rules of HTTP, and to those that do not, on real sockets."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.observe.http import exchange
from npu_agent.observe.http.exchange import converse
from npu_agent.observe.http.routes import Answer, Route

GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
WITHIN_S = 5.0


async def well() -> Answer:
    return Answer(200, b"ok\n")


async def fails() -> Answer:
    raise RuntimeError("a fault of ours")


async def hangs() -> Answer:
    await anyio.sleep_forever()
    raise AssertionError


async def large() -> Answer:
    return Answer(200, b"x" * 8_000_000)


ROUTES: dict[str, Route] = {"/healthz": well, "/fails": fails, "/hangs": hangs, "/large": large}


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the server. Leaving it waits until the server has ended its side."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=ours)

    async def serve() -> None:
        with theirs:
            await converse(theirs, ROUTES)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        try:
            with anyio.fail_after(WITHIN_S):
                yield reader, writer
        finally:
            writer.transport.abort()


async def said(request: bytes, *, ends: bool = True) -> str:
    """Return all that the server says to `request` until it closes, after which the peer says nothing more if it `ends`."""
    async with connected() as (reader, writer):
        writer.write(request)
        if ends:
            writer.write_eof()
        return (await reader.read()).decode()


def statuses(text: str) -> list[int]:
    return [int(status) for status in re.findall(r"^HTTP/1\.1 (\d+) ", text, re.MULTILINE)]


async def test_a_page_comes_with_its_kind_and_nothing_that_could_be_misused() -> None:
    head, _, body = (await said(GET)).partition("\r\n\r\n")
    status, *headers = head.split("\r\n")
    assert (status, body) == ("HTTP/1.1 200 OK", "ok\n")
    named = dict(header.split(": ", 1) for header in headers)
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", named.pop("Date"))
    assert named == {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": "3",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


async def test_head_has_the_headers_of_get_and_no_body() -> None:
    head, _, body = (await said(GET.replace(b"GET", b"HEAD"))).partition("\r\n\r\n")
    assert "Content-Length: 3" in head
    assert body == ""


@pytest.mark.parametrize("target", [b"/healthz?verbose", b"http://evil.example/healthz", b"HTTP://[::1]:80/healthz?a#b"])
async def test_a_target_of_any_form_means_its_path(target: bytes) -> None:
    assert statuses(await said(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")) == [200]


@pytest.mark.parametrize(
    "target",
    [b"/", b"/HEALTHZ", b"/healthz/", b"//healthz", b"/healthz/../healthz", b"/%68ealthz", b"/../../etc/passwd", b"*", b"healthz", b"\xff"],
)
async def test_any_other_path_is_not_there_and_is_not_repeated(target: bytes) -> None:
    text = await said(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert statuses(text) == [404] or (target == b"\xff" and statuses(text) == [400])
    assert text.endswith(("\r\n\r\nthere is nothing here but /healthz, /fails, /hangs, /large\n", "is too large\n"))


@pytest.mark.parametrize("host", [b"evil.example", b"127.0.0.1:9400", b"", b"a/b?c", b"\xff\xfe"])
async def test_the_host_of_a_request_changes_nothing(host: bytes) -> None:
    text = await said(b"GET /healthz HTTP/1.1\r\nHost: " + host + b"\r\n\r\n")
    assert statuses(text) == [200]
    assert "evil" not in text


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT", b"get", b"BREW"])
async def test_nothing_but_get_and_head_is_done(method: bytes) -> None:
    text = await said(method + b" /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", ends=False)
    assert statuses(text) == [405]
    assert "Allow: GET, HEAD\r\nConnection: close\r\n" in text


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Content-Length: 99999999999999", b"Expect: 100-continue\r\nContent-Length: 5"],
)
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST"])
async def test_a_body_is_refused_before_it_comes(method: bytes, head: bytes) -> None:
    text = await said(method + b" /healthz HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n", ends=False)
    assert statuses(text) == [405 if method == b"POST" else 413]
    assert "Connection: close" in text


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 40 + b"\r\n\r\n",  # TLS
        b"\x00\x00\x00\x00\r\n\r\n",
        b"GET /healthz\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",  # no Host
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n folded: yes\r\nHost: a\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n",
        b"GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
        GET[:-2],  # and then its end
    ],
)
async def test_what_breaks_a_rule_is_refused_and_the_connection_ends(request_: bytes) -> None:
    text = await said(request_)
    assert statuses(text) == [400]
    assert "Connection: close" in text
    assert text.endswith("\r\n\r\nthe request breaks a rule of HTTP or is too large\n")


@pytest.mark.parametrize("request_", [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", GET.replace(b"1.1", b"9.9"), GET.replace(b"1.1", b"0.9")])
async def test_another_version_of_http_is_refused(request_: bytes) -> None:
    text = await said(request_)
    assert statuses(text) == [505]
    assert text.endswith("\r\n\r\nonly HTTP/1.1 is spoken here\n")


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding:\x0bchunked",
    ],
)
async def test_a_request_in_the_body_of_another_is_never_answered(smuggled: bytes) -> None:
    text = await said(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + smuggled + b"\r\n\r\n0\r\n\r\n" + GET)
    assert len(statuses(text)) == 1
    assert statuses(text)[0] in (400, 413, 501)


async def test_requests_in_a_row_are_answered_in_a_row() -> None:
    missing = GET.replace(b"/healthz", b"/none")
    assert statuses(await said(GET + missing + GET.replace(b"GET", b"HEAD") + GET)) == [200, 404, 200, 200]


async def test_nothing_is_answered_after_a_refusal() -> None:
    assert statuses(await said(GET + b"POST / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)) == [200, 405]


async def test_a_peer_of_http_1_0_gets_one_answer() -> None:
    assert statuses(await said(b"GET /healthz HTTP/1.0\r\n\r\n", ends=False)) == [200]


async def test_a_peer_that_ends_its_side_is_still_answered() -> None:
    assert statuses(await said(GET)) == [200]


async def test_a_peer_that_comes_and_says_nothing_gets_nothing() -> None:
    assert await said(b"") == ""


async def test_a_request_of_16_kib_is_answered_and_one_of_a_byte_more_is_not() -> None:
    begin = b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: "
    longest = b"x" * (16 * 1024 - len(begin) - 4)
    assert statuses(await said(begin + longest + b"\r\n\r\n")) == [200]
    assert statuses(await said(begin + longest + b"x\r\n\r\n")) == [431]


@pytest.mark.parametrize("header", [b"X: " + b"x" * 20_000, b"X: y\r\n" * 5000], ids=["one", "many"])
async def test_more_header_than_is_taken_is_refused_in_words_that_reach_the_peer(header: bytes) -> None:
    text = await said(b"GET /healthz HTTP/1.1\r\nHost: a\r\n" + header + b"\r\n\r\n", ends=False)
    assert statuses(text) == [431]


async def test_a_peer_that_floods_after_a_refusal_is_cut() -> None:
    async with connected() as (reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n" + b"x" * 10_000_000)
        assert statuses((await reader.readuntil(b"\r\n\r\n")).decode()) == [405]

        async def flood() -> None:
            while True:
                await writer.drain()
                writer.write(b"x" * 100_000)

        with pytest.raises(ConnectionError):
            await flood()


async def test_headers_that_come_too_slowly_are_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "REQUEST_WITHIN_S", 0.1)
    async with connected() as (reader, writer):

        async def drip() -> None:
            for byte in GET:
                writer.write(bytes([byte]))
                await anyio.sleep(0.02)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drip)
            text = (await reader.read()).decode()
            tasks.cancel_scope.cancel()
    assert statuses(text) == [408]
    assert "Connection: close" in text
    assert text.endswith("the request did not come within 0.1 s\n")


async def test_a_peer_that_is_idle_between_requests_is_let_go_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "REQUEST_WITHIN_S", 0.05)
    assert statuses(await said(GET, ends=False)) == [200]


async def test_a_peer_that_does_not_read_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "ANSWER_WITHIN_S", 0.1)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs:
        ours.sendall(GET.replace(b"/healthz", b"/large"))
        with anyio.fail_after(WITHIN_S):
            await converse(theirs, ROUTES)


async def test_a_peer_that_goes_away_before_its_answer_is_nobody_s_failure() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with theirs:
        ours.sendall(GET)
        ours.close()
        with anyio.fail_after(WITHIN_S):
            await converse(theirs, ROUTES)


async def test_a_page_that_fails_is_a_500_and_the_next_one_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    assert statuses(await said(GET.replace(b"/healthz", b"/fails") + GET)) == [500, 200]
    assert "a fault of ours" in caplog.text


async def test_a_page_that_hangs_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "ANSWER_WITHIN_S", 0.05)
    text = await said(GET.replace(b"/healthz", b"/hangs"))
    assert statuses(text) == [503]
    assert text.endswith("there was no answer within 0.05 s\n")


WORDS = st.sampled_from(
    [
        *(
            b"GET ",
            b"HEAD ",
            b"POST ",
            b"/healthz",
            b"/none",
            b"*",
            b" HTTP/1.1\r\n",
            b" HTTP/1.0\r\n",
            b"Host: a\r\n",
            b"\r\n",
            b"\n",
            b"\r",
        ),
        *(
            b"Content-Length: 5\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: close\r\n",
            b"0\r\n\r\n",
            b"5\r\nGET /\r\n",
            GET,
            b" ",
            b":",
        ),
        *(b"Upgrade: h2c\r\nConnection: upgrade\r\n", b"Expect: 100-continue\r\n", b"\x00", b"\xff", b"X: " + b"x" * 9000 + b"\r\n"),
    ]
)


@given(st.lists(st.one_of(WORDS, st.binary(max_size=20)), max_size=20))
def test_whatever_a_peer_says_it_gets_whole_answers_and_an_end(pieces: list[bytes]) -> None:
    text = asyncio.run(said(b"".join(pieces))).encode("latin-1")
    while text:
        # Whether an answer is to HEAD is not known here: it has no body then.
        head, _, text = text.partition(b"\r\n\r\n")
        assert re.match(rb"HTTP/1\.1 (200|404|400|405|413|431|501|505) [A-Z]", head)
        length = int(re.search(rb"Content-Length: (\d+)", head)[1])  # type: ignore[index]
        if not text.startswith(b"HTTP/1.1 "):
            assert len(text[:length]) in (0, length)
            text = text[length:]
