"""Where HTTP is served: `127.0.0.1:9400`, `[::]:9400`, `localhost:9400`, or `:9400` for all addresses of the machine."""

import re
import socket
from dataclasses import dataclass

from npu_agent.observe.errors import HttpAddressWrong

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]*:[^\]\s]*)\]|(?P<host>[^:\[\]/@\s]*)):(?P<port>[0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Address:
    """A host, empty for all addresses of the machine, and a port, 0 for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse(text: str) -> Address:
    """Return the address that `text` says. Raises HttpAddressWrong."""
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535 or not _is_host(found["six"], found["host"]):
        raise HttpAddressWrong(
            f"HTTP cannot be served on {text!r}: an address is HOST:PORT, such as 127.0.0.1:9400 or [::1]:9400, or :9400 for all"
            " addresses, and a port is at most 65535"
        )
    return Address(found["six"] or found["host"] or "", int(found["port"]))


def _is_host(six: str | None, host: str) -> bool:
    """Return whether it is an address, or can be a name: what has nothing but digits and dots cannot."""
    try:
        if six is not None:
            socket.inet_pton(socket.AF_INET6, six.partition("%")[0])
        elif host and not host.strip("0123456789."):
            socket.inet_pton(socket.AF_INET, host)
    except OSError:
        return False
    return True
