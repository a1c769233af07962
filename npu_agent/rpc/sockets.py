"""Unix sockets that listen for their owner alone, whatever the umask."""

import os
import socket
from pathlib import Path

MAX_SOCKET_PATH = 107
"""Bytes that the kernel takes in the path of a Unix socket."""


def bind_private(path: Path) -> socket.socket:
    """Return a socket that is bound to `path` with the mode 0600. Raises OSError."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The mode must be right from the first moment on, and the umask is the process's: nothing else may run in between.
    before = os.umask(0o177)
    try:
        listening.bind(str(path))
    except BaseException:
        listening.close()
        raise
    finally:
        os.umask(before)
    return listening
