"""Requests to servers in a network of the tests, from a process outside of it."""

import asyncio
import contextlib
import ctypes
import http.client
import json
import os
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Object = dict[str, Any]

_ANSWERS_WITHIN_S = 30.0
_libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):
    """The API server answered with an error. `status` is that of HTTP, `message` what it said."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Api:
    """The API server at `address`, seen from the network namespace of the process `inside`, as whoever has `token`."""

    inside: int
    address: tuple[str, int]
    ca: Path
    token: str

    async def get(self, path: str) -> Object:
        """Return an object or a list, such as "/api/v1/nodes/node1". Raises Refused."""
        return await self.request("GET", path)

    async def find(self, path: str) -> Object | None:
        """Return an object, or None where there is none. Raises Refused."""
        try:
            return await self.get(path)
        except Refused as refused:
            if refused.status != 404:
                raise
            return None

    async def patch(self, path: str, patch: Mapping[str, Any], *, kind: str = "merge-patch") -> Object:
        """Change an object by a patch of that kind ("merge-patch", "strategic-merge-patch", "apply-patch"). Raises Refused."""
        suffix = "yaml" if kind == "apply-patch" else "json"
        return await self.request("PATCH", path, patch, content_type=f"application/{kind}+{suffix}")

    async def request(self, method: str, path: str, body: Any = None, *, content_type: str = "application/json") -> Object:
        """Send one request and return the answer. Raises Refused, and OSError where nobody answers."""
        return await asyncio.to_thread(self._request, method, path, body, content_type)

    def _request(self, method: str, path: str, body: Any, content_type: str) -> Object:
        context = ssl.create_default_context(cafile=str(self.ca))
        with connect(self.inside, self.address) as plain, context.wrap_socket(plain, server_hostname=self.address[0]) as connection:
            client = http.client.HTTPConnection(*self.address, timeout=_ANSWERS_WITHIN_S)
            client.sock = connection
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type, "Connection": "close"}
            client.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
            answer = client.getresponse()
            content = answer.read()
        if answer.status >= 300:
            raise Refused(answer.status, _message(content))
        parsed: Object = json.loads(content)
        return parsed


def connect(inside: int, address: tuple[str, int], *, timeout_s: float = _ANSWERS_WITHIN_S) -> socket.socket:
    """Return a TCP connection made in the network namespace of the process `inside`. Raises OSError.

    A socket stays in the namespace that it was made in, and a namespace is a matter of one thread; call it in one of its own.
    """
    with _network_of(inside):
        return socket.create_connection(address, timeout=timeout_s)


@contextlib.contextmanager
def _network_of(process_id: int) -> Iterator[None]:
    mine, theirs = (os.open(path, os.O_RDONLY) for path in ("/proc/thread-self/ns/net", f"/proc/{process_id}/ns/net"))
    try:
        _enter(theirs)
        try:
            yield
        finally:
            _enter(mine)
    finally:
        os.close(mine)
        os.close(theirs)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _message(content: bytes) -> str:
    try:
        return str(json.loads(content)["message"])
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")
