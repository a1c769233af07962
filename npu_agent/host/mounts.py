"""Files and folders of the host that containers get, as they are there: which of them there are, and what a `*` stands for."""

from collections.abc import Sequence
from dataclasses import replace

from npu_agent.core.accelerator import Mount
from npu_agent.host.files import as_text, entries, is_there, resolve

MAX_FOUND = 256
"""What a path with `*` can stand for."""


def present(prefix: str, mount: Mount) -> Sequence[Mount]:
    """Return what there is of `mount` on the host whose root is at `prefix`, in the order of names; empty if nothing is.

    One that says nothing of whether it is required, and has no `*`, is taken as it is: an agent in a container need not see the files
    of the host.
    Links are followed as the host would. It stats files, so it is for a thread. Raises OSError and ShortOfResources.
    """
    if "*" not in mount.host_path:
        return [mount] if mount.required is None or is_there(prefix + resolve(prefix, mount.host_path)) else []
    paths = [""]
    for part in mount.host_path.split("/")[1:]:
        paths = [f"{path}/{name}" for path in paths for name in _names(prefix, path, part)][:MAX_FOUND]
    return [replace(mount, host_path=path, container_path=path) for path in paths if is_there(prefix + resolve(prefix, path))]


def _names(prefix: str, folder: str, part: str) -> Sequence[str]:
    before, star, after = part.partition("*")
    if not star:
        return [part]
    names = sorted(name for name, _ in entries(prefix + resolve(prefix, folder)) if name == as_text(name))
    return [name for name in names if name.startswith(before) and name.endswith(after) and len(name) >= len(part) - 1]
