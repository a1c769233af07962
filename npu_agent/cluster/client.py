"""Requests to the API server, each on a connection of its own. No other module talks to it (docs/decisions/0013-own-client.md).

An agent asks about once an hour. What is not kept between two requests cannot go stale: the token, the authorities and the address
are those that `find` returns now.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import anyio
import h11
import msgspec

import npu_agent
from npu_agent.cluster.access import Access
from npu_agent.cluster.errors import AccessMissing, ApiRefused, ApiUnreachable
from npu_agent.core.text import printable

TIMEOUT_S = 10.0
"""For a whole request, the handshake included."""

MOST_BYTES = 8 * 1024 * 1024
"""Of an answer. etcd keeps no object of more than 1.5 MiB; a page of a list may have many."""

MOST_HEADER_BYTES = 64 * 1024
READ_BYTES = 64 * 1024

JSON = "application/json"
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
"""Asks for an object's metadata alone: a whole node has some dozens of KiB (api-concepts.md, "Metadata-only fetches")."""

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

Object = Mapping[str, Any]


class ApiServer:
    """The API server that `find` says, which is called for each request and may raise AccessMissing."""

    def __init__(self, find: Callable[[], Access]) -> None:
        self.find = find
        self._context: tuple[tuple[str, str, str, bool], ssl.SSLContext] | None = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> Object:
        """Return what the API server answers, an object.

        Raises AccessMissing, ApiUnreachable, and ApiRefused for any status but 2xx.
        """
        access = self.find()
        server = urlsplit(access.server)
        target = quote(server.path + path, safe="/:@") + (f"?{urlencode(query)}" if query else "")
        content = b"" if body is None else msgspec.json.encode(body)
        headers = {"Host": server.netloc, "User-Agent": f"npu-agent/{npu_agent.__version__}", "Accept": accept, "Connection": "close"}
        if access.token:
            headers["Authorization"] = f"Bearer {access.token}"
        if body is not None:
            headers |= {"Content-Type": content_type, "Content-Length": str(len(content))}
        request = h11.Request(method=method, target=target, headers=list(headers.items()))
        try:
            with anyio.fail_after(TIMEOUT_S):
                response, answer = await self._exchange(access, request, content)
        except TimeoutError as error:
            raise ApiUnreachable(f"the API server at {access.server} did not answer within {TIMEOUT_S:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise ApiUnreachable(
                f"the certificate of {access.server} is not trusted: {error.verify_message};"
                " is the certificate authority that of this cluster?"
            ) from error
        except (OSError, h11.RemoteProtocolError) as error:
            said = (isinstance(error, OSError) and error.strerror) or printable(str(error)) or type(error).__name__
            raise ApiUnreachable(f"the API server at {access.server} cannot be reached: {said}") from error
        return _answer(access.server, method, path, response, answer)

    async def _exchange(self, access: Access, request: h11.Request, content: bytes) -> tuple[h11.Response, bytes]:
        server = urlsplit(access.server)
        context = self._ssl_context(access) if server.scheme == "https" else None
        reader, writer = await asyncio.open_connection(
            server.hostname,
            server.port or (443 if context else 80),
            ssl=context,
            server_hostname=(access.server_name or server.hostname) if context else None,
        )
        try:
            connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_HEADER_BYTES)
            writer.write(connection.send(request) or b"")
            if content:
                writer.write(connection.send(h11.Data(content)) or b"")
            writer.write(connection.send(h11.EndOfMessage()) or b"")
            return await _receive(connection, reader)
        finally:
            writer.transport.abort()

    def _ssl_context(self, access: Access) -> ssl.SSLContext:
        key = (access.authorities, access.certificate, access.key, access.verify)
        if self._context is None or self._context[0] != key:
            self._context = (key, ssl_context(access))
        return self._context[1]


def ssl_context(access: Access) -> ssl.SSLContext:
    """Return how the server of `access` is verified. Raises AccessMissing for certificates that are none.

    Python 3.13 and newer refuse authorities without keyUsage, which many clusters have (EKS, MicroK8s before 2026); the flag is
    cleared for the authorities of a cluster, and stays for those of the system.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = access.verify
    context.verify_mode = ssl.CERT_REQUIRED if access.verify else ssl.CERT_NONE
    try:
        if access.authorities:
            context.load_verify_locations(cadata=access.authorities)
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        elif access.verify:
            context.load_default_certs()
        if access.certificate:
            _load_chain(context, access)
    except ssl.SSLError as error:
        raise AccessMissing(f"the certificates for {access.server} cannot be used: {printable(str(error))}") from error
    return context


def _load_chain(context: ssl.SSLContext, access: Access) -> None:
    # OpenSSL takes a chain from a file only; this one is in memory and has no name.
    descriptor = os.memfd_create("client", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, f"{access.certificate}\n{access.key}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


async def _receive(connection: h11.Connection, reader: asyncio.StreamReader) -> tuple[h11.Response, bytes]:
    response: h11.Response | None = None
    pieces: list[bytes] = []
    length = 0
    ended = False
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise h11.RemoteProtocolError(_CUT if ended else str(error)) from error
        if event is h11.NEED_DATA:
            data = await reader.read(READ_BYTES)
            ended = not data
            connection.receive_data(data)
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            length += len(event.data)
            if length > MOST_BYTES:
                raise h11.RemoteProtocolError(f"an answer of more than {MOST_BYTES >> 20} MiB")
            pieces.append(bytes(event.data))
        elif isinstance(event, h11.EndOfMessage) and response is not None:
            return response, b"".join(pieces)
        elif isinstance(event, h11.ConnectionClosed):
            raise h11.RemoteProtocolError(_CUT)


_CUT = "it closed the connection before it had answered"


def _answer(server: str, method: str, path: str, response: h11.Response, content: bytes) -> Object:
    try:
        decoded = msgspec.json.decode(content)
    except msgspec.DecodeError:
        decoded = None
    status = response.status_code
    if not 200 <= status < 300:
        message = decoded.get("message") if isinstance(decoded, dict) else None
        said = printable(str(message or bytes(response.reason).decode("latin-1") or "without a reason"))
        retry_after = dict(response.headers).get(b"retry-after", b"0")
        after_s = min(float(retry_after), 600.0) if retry_after.isdigit() else 0.0
        raise ApiRefused(f"the API server refused {method} {path} ({status}): {said}{_ADVICE.get(status, '')}", status, after_s)
    if not isinstance(decoded, dict):
        raise ApiUnreachable(f"what {server} answered is not an object of Kubernetes; is it an API server?")
    return decoded


_ADVICE = {
    401: "; the token is not (or no longer) valid",
    403: "; see that the ClusterRole of the agent is bound to its service account",
}
