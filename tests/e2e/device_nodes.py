"""Device nodes that tests may hand to containers: harmless to open, and refused by the device cgroup unless they are given."""

import os
import stat
from pathlib import Path

from tests.scenarios.node import Node

_MISC_MAJOR = 10
# Opening one of these does nothing by itself. Nodes like /dev/null and /dev/net/tun will not do: runc lets every container open them.
_HARMLESS = ("fuse", "loop-control", "autofs", "vga_arbiter", "cpu_dma_latency")


def harmless_devices() -> list[int]:
    """Return the numbers of devices that this kernel has a driver for; two at least on any Debian kernel."""
    minors = {name: int(minor) for minor, name in (line.split() for line in Path("/proc/misc").read_text().splitlines())}
    return [os.makedev(_MISC_MAJOR, minors[name]) for name in _HARMLESS if name in minors]


def make_node(path: Path, device: int) -> None:
    """Make a device node, in place of one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    os.mknod(path, 0o666 | stat.S_IFCHR, device)
    path.chmod(0o666)


async def open_in_pod(node: Node, pod_name: str, *paths: str) -> str:
    """Open files for reading and writing in the pod; return what is said of the first that cannot be, nothing if all could."""
    status, output = await node.run_in_pod(pod_name, "sh", "-c", "; ".join(f": <> {path}" for path in paths))
    assert (status == 0) == (not output), output
    return output


async def make_node_in_pod(node: Node, pod_name: str, path: str, device: int) -> None:
    """Make a device node in the pod, as a container with CAP_MKNOD can."""
    status, output = await node.run_in_pod(pod_name, "mknod", path, "c", str(os.major(device)), str(os.minor(device)))
    assert status == 0, output
