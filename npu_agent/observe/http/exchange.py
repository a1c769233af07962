"""One connection over HTTP/1.1, by h11: requests within bounds, one after the other, each answered from a closed table."""

import asyncio
import logging
import re
import socket
import time
from collections.abc import Mapping
from http import HTTPStatus

import anyio
import h11

from npu_agent.observe.http.routes import Answer, Route

MOST_HEADER_BYTES = 16 * 1024
"""Bytes of a request, which is all header here."""

REQUEST_WITHIN_S = 10.0
"""Seconds for a request to come, from the connection or the answer before it on: slow and idle peers have to come again."""

ANSWER_WITHIN_S = 10.0
"""Seconds for an answer to be made, and as many for it to be taken."""

LINGER_S = 1.0
MOST_LINGER_BYTES = 64 * 1024
"""How long, and how much, we still read and forget of a peer that was refused: cut with bytes of its on the way, it would never see
the refusal."""

READ_BYTES = 4096

_PATH = re.compile(rb"(?:[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*)?(/[^?#]*).*", re.DOTALL)
"""The path in a target: of the usual form, or of the absolute one that a proxy is sent (RFC 9112, 3.2). Its host is not looked at."""

log = logging.getLogger(__name__)


class Refused(Exception):
    """The request gets `answer`, and the connection ends with it. `method` is the request's, empty where it is not known."""

    def __init__(self, answer: Answer, method: bytes = b"") -> None:
        super().__init__(answer.status)
        self.answer = answer
        self.method = method


async def converse(peer: socket.socket, routes: Mapping[str, Route]) -> None:
    """Answer the requests of one connection until it ends. It raises nothing; `peer` does not block and is the caller's to close."""
    http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER_BYTES - 1)
    try:
        while True:
            try:
                request = await _request(http, peer)
                if request is None:
                    return
                answer = await _answer(request, routes)
                await _send(http, peer, answer, with_body=request.method != b"HEAD", last=False)
            except Refused as refused:
                await _send(http, peer, refused.answer, with_body=refused.method != b"HEAD", last=True)
            if http.our_state is not h11.DONE or http.their_state is not h11.DONE:
                await _linger(peer)
                return
            http.start_next_cycle()
    except (OSError, TimeoutError, h11.ProtocolError):
        return  # it went, took nothing, or is past being answered


async def _request(http: h11.Connection, peer: socket.socket) -> h11.Request | None:
    """Return the next request, None where none came. Raises Refused, OSError."""
    loop = asyncio.get_running_loop()
    try:
        with anyio.fail_after(REQUEST_WITHIN_S):
            while (event := http.next_event()) is h11.NEED_DATA:
                room = MOST_HEADER_BYTES - len(http.trailing_data[0])
                http.receive_data(await loop.sock_recv(peer, min(READ_BYTES, room)))
        if not isinstance(event, h11.Request):
            return None
        if not event.http_version.startswith(b"1."):
            raise Refused(said(505, "only HTTP/1.1 is spoken here"), event.method)
        if event.method not in (b"GET", b"HEAD"):
            raise Refused(said(405, "there is nothing here but to GET", ("Allow", "GET, HEAD")))
        if _has_body(event) or not isinstance(http.next_event(), h11.EndOfMessage):
            raise Refused(said(413, "a request has no body here"), event.method)
    except h11.RemoteProtocolError as error:
        raise Refused(said(error.error_status_hint, "the request breaks a rule of HTTP or is too large")) from error
    except TimeoutError:
        if not http.trailing_data[0]:
            return None
        raise Refused(said(408, f"the request did not come within {REQUEST_WITHIN_S:g} s")) from None
    return event


def _has_body(request: h11.Request) -> bool:
    """Return whether a body is announced, be it empty and in a coding: where one ends is what peers and proxies disagree on."""
    return any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in request.headers)


async def _answer(request: h11.Request, routes: Mapping[str, Route]) -> Answer:
    """Return what the request is answered with."""
    found = _PATH.fullmatch(request.target)
    route = routes.get(found[1].decode("latin-1")) if found else None
    if route is None:
        return said(404, f"there is nothing here but {', '.join(routes)}")
    try:
        with anyio.fail_after(ANSWER_WITHIN_S):
            return await route()
    except TimeoutError:
        return said(503, f"there was no answer within {ANSWER_WITHIN_S:g} s")
    except Exception:  # a page that fails is a fault of that page, and of nothing else
        log.exception("a page of HTTP failed")
        return said(500, "the answer could not be made; see the log of the agent")


async def _send(http: h11.Connection, peer: socket.socket, answer: Answer, *, with_body: bool, last: bool) -> None:
    """Send the answer. Raises OSError, TimeoutError, h11.ProtocolError."""
    headers = [
        ("Date", time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())),
        ("Content-Type", answer.content_type),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        *answer.headers,
        *([("Connection", "close")] if last else []),
    ]
    response = h11.Response(status_code=answer.status, reason=HTTPStatus(answer.status).phrase.encode(), headers=headers)
    parts = [http.send(response), *([http.send(h11.Data(data=answer.body))] if with_body else []), http.send(h11.EndOfMessage())]
    with anyio.fail_after(ANSWER_WITHIN_S):
        await asyncio.get_running_loop().sock_sendall(peer, b"".join(part for part in parts if part))


async def _linger(peer: socket.socket) -> None:
    """End our side, and let the peer read what it was told."""
    peer.shutdown(socket.SHUT_WR)
    left = MOST_LINGER_BYTES
    with anyio.move_on_after(LINGER_S):
        while left > 0 and (data := await asyncio.get_running_loop().sock_recv(peer, READ_BYTES)):
            left -= len(data)


def said(status: int, text: str, *headers: tuple[str, str]) -> Answer:
    """Return an answer of one line."""
    return Answer(status, f"{text}\n".encode(), headers=headers)
