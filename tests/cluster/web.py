"""Asking servers in a network of the tests over HTTP, and JupyterLab's kernels over the WebSocket that its pages use."""

import asyncio
import http.client
import json
import socket
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, RejectConnection, Request, TextMessage

from tests.cluster.api import connect

_ANSWERS_WITHIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Web:
    """The server at `address`, seen from the network of the process `inside`. `headers` go with every request."""

    inside: int
    address: tuple[str, int]
    headers: Mapping[str, str] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request, with a body as JSON, and return what is answered as JSON; only success is an answer."""
        return await asyncio.to_thread(self._ask, method, path, body)

    async def run_cell(self, kernel: str, code: str) -> str:
        """Have a kernel of JupyterLab run code as a cell of a notebook, and return what it printed; it has to succeed."""
        return await asyncio.to_thread(self._run_cell, kernel, code)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        with connect(self.inside, self.address, timeout_s=_ANSWERS_WITHIN_S) as connection:
            client = http.client.HTTPConnection(*self.address)
            client.sock = connection
            headers = {"Content-Type": "application/json", "Connection": "close", **self.headers}
            client.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
            answer = client.getresponse()
            content = answer.read()
        assert answer.status < 300, f"{method} {path}: {answer.status} {content.decode(errors='replace')}"
        return json.loads(content)

    def _run_cell(self, kernel: str, code: str) -> str:
        """Speak the messages of https://jupyter-client.readthedocs.io/en/stable/messaging.html as a page of JupyterLab does."""
        asked = uuid.uuid4().hex
        header = {"msg_id": asked, "msg_type": "execute_request", "username": "", "session": uuid.uuid4().hex, "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
        request = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell", "buffers": []}
        printed, replied, idle = "", None, False
        with connect(self.inside, self.address, timeout_s=_ANSWERS_WITHIN_S) as connection:
            path = f"/api/kernels/{kernel}/channels"
            opening = Request(
                self.address[0], path, extra_headers=[(name.encode(), value.encode()) for name, value in self.headers.items()]
            )
            for text in _converse(connection, opening, json.dumps(request)):
                message = json.loads(text)
                if message["parent_header"].get("msg_id") != asked:
                    continue
                if message["msg_type"] == "stream":
                    printed += message["content"]["text"]
                elif message["msg_type"] == "execute_reply":
                    replied = message["content"]
                elif message["msg_type"] == "status":
                    idle = message["content"]["execution_state"] == "idle"
                # The answer and what was printed come by two ways, in any order; "idle" is the last by that of what was printed.
                if replied is not None and idle:
                    break
        assert replied
        assert replied["status"] == "ok", replied
        return printed


def _converse(connection: socket.socket, opening: Request, said: str) -> Iterator[str]:
    """Open a WebSocket, say one text, and yield every text that comes."""
    protocol = WSConnection(ConnectionType.CLIENT)
    connection.sendall(protocol.send(opening))
    texts: list[str] = []
    while received := connection.recv(65536):
        protocol.receive_data(received)
        for event in protocol.events():
            assert not isinstance(event, RejectConnection), event
            if isinstance(event, AcceptConnection):
                connection.sendall(protocol.send(TextMessage(data=said)))
            elif isinstance(event, TextMessage):
                texts.append(event.data)
                if event.message_finished:
                    yield "".join(texts)
                    texts.clear()
