"""How devices are handed to container runtimes."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from npu_agent.core.rules import Check
from npu_agent.schema.mistakes import folder_mistake


class CdiSettings(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How a container gets the device nodes and mounts of its devices: told to kubelet, or named in CDI and written in specs."""

    handover: Annotated[
        Literal["nodes", "cdi", "both"],
        Meta(
            description="`nodes` tells kubelet each device node and mount, which every runtime understands; `cdi` writes them to specs and"
            " tells the names, for which the runtime must read CDI; `both` does both"
        ),
    ] = "nodes"
    folder: Annotated[str, Check(folder_mistake), Meta(description="where the runtime looks for specs that programs write")] = (
        "/var/run/cdi"
    )
