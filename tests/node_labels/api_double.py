"""An API server that is as bad as a test wants: it keeps nodes, and answers late, wrongly, not at all or with a refusal when told to.

What apply, merge and RBAC really do is shown on a real API server (test_real_api_server.py). This one knows as much of them as its
callers need to come to an end: apply by one manager, merge patches with a resourceVersion.
"""

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import h11
import msgspec

from npu_agent.cluster.access import Access

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to a request instead of an answer: a status, a wait of so many seconds before it, or another text than JSON.

    `cut` closes the connection after so many bytes of the answer.
    """

    status: int = 0
    wait_s: float = 0.0
    content: bytes | None = None
    cut: int | None = None
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Any


class ApiDouble:
    """Objects by path; `faults` happen to the requests that come next, one each, and `always` to those after them."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}
        self.asked: list[Asked] = []
        self.faults: deque[Fault] = deque()
        self.always: Fault | None = None
        self.before_writes: deque[Callable[[], object]] = deque()
        """What others do when a write has come and is not carried out yet, one a write."""
        self.token = ""
        self.url = ""
        self._version = 100
        self.came = asyncio.Event()

    def add_node(self, name: str, **spec: Any) -> Object:
        return self.put(
            f"/api/v1/nodes/{name}",
            {"kind": "Node", "metadata": {"name": name, "uid": f"uid-{name}", "labels": {"kubernetes.io/hostname": name}}, "spec": spec},
        )

    def put(self, path: str, thing: Object) -> Object:
        self._version += 1
        thing["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = thing
        return thing

    def node(self, name: str) -> Object:
        return self.objects[f"/api/v1/nodes/{name}"]

    def labels(self, name: str) -> dict[str, str]:
        return dict(self.node(name)["metadata"].get("labels") or {})

    def taints(self, name: str) -> list[Object]:
        return list(self.node(name)["spec"].get("taints") or [])

    @property
    def written(self) -> list[Asked]:
        return [asked for asked in self.asked if asked.method == "PATCH"]

    def access(self) -> Access:
        return Access(self.url, token=self.token)

    async def wait_for(self, count: int) -> None:
        """Return when so many requests have come in all."""
        while len(self.asked) < count:
            self.came.clear()
            await self.came.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            try:
                await self._serve(reader, writer)
            finally:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        request: h11.Request | None = None
        content = b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                content += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return
        assert request is not None
        headers = {name.decode(): value.decode() for name, value in request.headers}
        body = msgspec.json.decode(content) if content else None
        asked = Asked(request.method.decode(), request.target.decode(), headers, body)
        self.asked.append(asked)
        self.came.set()
        fault = self.faults.popleft() if self.faults else self.always
        if fault is not None and fault.wait_s:
            await asyncio.sleep(fault.wait_s)
        if asked.method == "PATCH" and self.before_writes:
            self.before_writes.popleft()()
        status, answer = self._answer(asked) if fault is None or not fault.status else (fault.status, _status(fault.status, "a fault"))
        payload = msgspec.json.encode(answer) if fault is None or fault.content is None else fault.content
        more = fault.headers if fault else ()
        response = h11.Response(status_code=status, headers=[("Content-Length", str(len(payload))), ("Connection", "close"), *more])
        text = (
            (connection.send(response) or b"") + (connection.send(h11.Data(payload)) or b"") + (connection.send(h11.EndOfMessage()) or b"")
        )
        writer.write(text if fault is None or fault.cut is None else text[: fault.cut])
        await writer.drain()

    def _answer(self, asked: Asked) -> tuple[int, Object]:
        if self.token and asked.headers.get("authorization") != f"Bearer {self.token}":
            return 401, _status(401, "Unauthorized")
        path = urlsplit(asked.target).path
        if path == "/api/v1/nodes":
            return 200, {"kind": "NodeList", "metadata": {}, "items": [*self.objects.values()]}
        kind = asked.headers.get("content-type", "")
        there = self.objects.get(path)
        if there is None and not (asked.method == "PATCH" and "apply" in kind and "uid" not in asked.body["metadata"]):
            return 404, _status(404, f"{path} not found")
        if asked.method == "GET":
            return 200, there or {}
        if "apply" in kind:
            return 200, self._apply(path, there, asked.body)
        assert there is not None
        if asked.body["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
            return 409, _status(409, "the object has been modified")
        return 200, self.put(path, _merged(there, asked.body))

    def _apply(self, path: str, there: Object | None, body: Object) -> Object:
        if there is None:
            return self.put(path, {**body, "metadata": dict(body["metadata"])})
        metadata = dict(there["metadata"])
        before: Object = next((entry["fieldsV1"]["f:metadata"] for entry in metadata.get("managedFields", ())), {})
        fields: Object = {}
        for section in ("labels", "annotations"):
            own = body["metadata"].get(section) or {}
            kept = {key: value for key, value in (metadata.get(section) or {}).items() if f"f:{key}" not in before.get(f"f:{section}", {})}
            metadata[section] = {**kept, **own}
            fields[f"f:{section}"] = {f"f:{key}": {} for key in own}
        metadata["managedFields"] = [{"manager": "npu-agent", "operation": "Apply", "fieldsV1": {"f:metadata": fields}}]
        more = {key: value for key, value in body.items() if key not in ("metadata", "apiVersion", "kind")}
        return self.put(path, {**there, **more, "metadata": metadata})


@asynccontextmanager
async def api_double(context: ssl.SSLContext | None = None) -> AsyncIterator[ApiDouble]:
    """Yield an API server on the loopback address; with `context` it speaks TLS."""
    double = ApiDouble()
    server = await asyncio.start_server(double.serve, "127.0.0.1", 0, ssl=context)
    double.url = f"http{'s' if context else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield double
    finally:
        server.close()


def _status(code: int, message: str) -> Object:
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


def _merged(there: Any, patch: Any) -> Any:
    """Return `there` changed by a merge patch (RFC 7396)."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(there) if isinstance(there, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merged(merged.get(key), value)
    return merged
