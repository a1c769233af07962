"""Channels to Unix sockets: grpclib's, with bounds on what the peer may answer."""

from pathlib import Path

from grpclib.client import Channel
from grpclib.client import Handler as ClientHandler
from grpclib.protocol import H2Protocol

from npu_agent.rpc.bounds import MOST_BYTES, BoundedProtocol


class BoundedChannel(Channel):
    """A channel to the Unix socket at `path` that takes no message larger than `most_bytes`."""

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        super().__init__(path=str(path))
        self._most_bytes = most_bytes

    def _protocol_factory(self) -> H2Protocol:
        return BoundedProtocol(ClientHandler(), self._config, self._h2_config, most_bytes=self._most_bytes)
