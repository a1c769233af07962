"""A socket on which nobody says anything, whatever comes; grpclib's own server would tell a caller that its deadline has passed."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def silent(path: Path) -> Iterator[None]:
    """Listen on `path`. The system itself takes the connections."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        yield
