"""As much of an API server as a kubelet needs to say what its node has: objects are kept, merged and watched, none is judged.

A kubelet without one admits and runs static pods all the same, but tells nobody the capacity of its node. With this one the tests
read what `kubectl get node` would show. Mirror pods are refused, so that static pods have no life outside kubelet.
"""

import json
import queue
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

Object = dict[str, Any]

_NODES = "/api/v1/nodes"

# What kubelet 1.36 asks for, by the last word of the collection's path.
_KINDS = {
    "nodes": "Node",
    "pods": "Pod",
    "services": "Service",
    "events": "Event",
    "leases": "Lease",
    "csinodes": "CSINode",
    "csidrivers": "CSIDriver",
    "runtimeclasses": "RuntimeClass",
}


class ApiServer:
    """Listens at `url` on the loopback address until it is closed."""

    def __init__(self) -> None:
        self._objects: dict[str, dict[str, Object]] = {}
        self._watchers: dict[str, set[queue.SimpleQueue[Object | None]]] = {}
        self._version = 0
        self.node_reports = 0
        """How often kubelet has written the status of its node."""
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"api": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="API server")
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self.forget()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def forget(self) -> None:
        """Delete all objects and end all watches, so that what is seen afterwards is of a kubelet that starts afterwards."""
        with self._lock:
            for watcher in [watcher for watchers in self._watchers.values() for watcher in watchers]:
                watcher.put(None)
            self._watchers.clear()
            self._objects.clear()

    def is_watched(self, collection: str) -> bool:
        """Return whether a kubelet has listed the collection and follows it."""
        with self._lock:
            return collection in self._watchers

    def node_status(self) -> Object | None:
        """Return the status of the node as kubelet wrote it last, or None before it has registered the node."""
        with self._lock:
            return next((node.get("status") for node in self._objects.get(_NODES, {}).values()), None)

    def get(self, collection: str, name: str) -> Object | None:
        with self._lock:
            return self._objects.get(collection, {}).get(name)

    def list(self, collection: str) -> tuple[list[Object], str]:
        with self._lock:
            return list(self._objects.get(collection, {}).values()), str(self._version)

    def put(self, collection: str, new: Object) -> Object:
        with self._lock:
            known = new["metadata"]["name"] in self._objects.get(collection, {})
            return self._store("MODIFIED" if known else "ADDED", collection, new)

    def patch(self, collection: str, name: str, patch: Object) -> Object | None:
        with self._lock:
            old = self._objects.get(collection, {}).get(name)
            self.node_reports += collection == _NODES and "status" in patch
            return old and self._store("MODIFIED", collection, merge(old, patch))

    def watch(self, collection: str, since: int) -> "queue.SimpleQueue[Object | None]":
        """Return a queue of the watch events of `collection` after the version `since`; None is its end."""
        watcher: queue.SimpleQueue[Object | None] = queue.SimpleQueue()
        with self._lock:
            for known in self._objects.get(collection, {}).values():
                if int(known["metadata"]["resourceVersion"]) > since:
                    watcher.put({"type": "MODIFIED", "object": known})
            self._watchers.setdefault(collection, set()).add(watcher)
        return watcher

    def _store(self, event: str, collection: str, new: Object) -> Object:
        self._version += 1
        new["metadata"]["resourceVersion"] = str(self._version)
        new["metadata"].setdefault("uid", f"uid-{self._version}")
        self._objects.setdefault(collection, {})[new["metadata"]["name"]] = new
        for watcher in self._watchers.get(collection, ()):
            watcher.put({"type": event, "object": new})
        return new


def merge(old: Object, patch: Mapping[str, Any]) -> Object:
    """Return `old` changed by a strategic merge patch, as far as kubelet's patches of nodes go: conditions and addresses are merged
    by their type, other lists replaced."""
    merged = dict(old)
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = merge(merged.get(key) or {}, value)
        elif isinstance(value, list) and value and isinstance(value[0], dict) and "type" in value[0]:
            by_type = {item["type"]: item for item in merged.get(key) or []}
            for item in value:
                by_type[item["type"]] = merge(by_type.get(item["type"], {}), item)
            merged[key] = list(by_type.values())
        else:
            merged[key] = value
    return merged


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # kubelet has been killed
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    api: ClassVar[ApiServer]
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        collection, name = self._target()
        if name:
            self._answer(self.api.get(collection, name))
        elif "watch" in (query := parse_qs(urlsplit(self.path).query)):
            self._watch(collection, query)
        else:
            items, version = self.api.list(collection)
            kind, api_version = _type(collection)
            self._answer({"kind": f"{kind}List", "apiVersion": api_version, "metadata": {"resourceVersion": version}, "items": items})

    def do_POST(self) -> None:
        collection, _ = self._target()
        new = self._body()
        if collection.endswith("/pods"):
            self._refuse(403, "Forbidden", "static pods have no mirror here")
        else:
            self._answer(self.api.put(collection, new) if collection else None, status=201)

    def do_PUT(self) -> None:
        collection, _ = self._target()
        new = self._body()
        self._answer(self.api.put(collection, new) if collection else None)

    def do_PATCH(self) -> None:
        collection, name = self._target()
        self._answer(self.api.patch(collection, name, self._body()))

    def do_DELETE(self) -> None:
        self._body()
        self._refuse(404, "NotFound", "nothing is deleted here")

    def log_message(self, *_: object) -> None:
        """Stay silent: kubelet logs what it asks for and is refused."""

    def _target(self) -> tuple[str, str]:
        """Return the path of the collection, empty for one that is not kept, and the name of the object or nothing."""
        words = urlsplit(self.path).path.strip("/").split("/")
        for index in range(len(words) - 1, -1, -1):
            if words[index] in _KINDS:
                return "/" + "/".join(words[: index + 1]), words[index + 1] if len(words) > index + 1 else ""
        return "", "unknown"

    def _body(self) -> Object:
        body: Object = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        return body

    def _answer(self, answer: Object | None, *, status: int = 200) -> None:
        if answer is None:
            self._refuse(404, "NotFound", f"{self.path} is not there")
            return
        kind, api_version = _type(self._target()[0])
        content = json.dumps({"kind": kind, "apiVersion": api_version, **answer}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _refuse(self, status: int, reason: str, message: str) -> None:
        self._answer(
            {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": reason, "message": message}, status=status
        )

    def _watch(self, collection: str, query: Mapping[str, Sequence[str]]) -> None:
        if "sendInitialEvents" in query:
            # kubelet falls back to list and watch, which every API server offers.
            self._refuse(400, "BadRequest", "no streaming lists here")
            return
        kind, api_version = _type(collection)
        events = self.api.watch(collection, int(query.get("resourceVersion", ["0"])[0]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        while (event := events.get()) is not None:
            content = json.dumps({**event, "object": {"kind": kind, "apiVersion": api_version, **event["object"]}}).encode() + b"\n"
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
            except OSError:  # kubelet has ended
                return


def _type(collection: str) -> tuple[str, str]:
    words = collection.strip("/").split("/")
    return _KINDS.get(words[-1], "Status"), "v1" if words[0] == "api" else "/".join(words[1:3])
