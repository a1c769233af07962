"""What a container gets with a card: device nodes, and files of the host."""

from typing import Annotated

import msgspec

from npu_agent.core.rules import Check
from npu_agent.families.texts import node_path_mistake, path_mistake, permissions_mistake


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A device node of a card, or one for each value of `each`."""

    path: Annotated[str, Check(node_path_mistake)]
    container_path: Annotated[str, Check(path_mistake)] | None = None
    permissions: Annotated[str, Check(permissions_mistake)] = "rw"
    required: bool = True
    """An allocation fails without a required node; another one is left out where the host does not have it."""
    each: list[str] = []
    divided: bool = False
    """Whether a part of the card gets only those of `each` that it names, and none without `each`."""
    shared: bool = False
    """Whether it belongs to no card alone, so that containers with other cards are given the same one."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of the host that containers get."""

    host_path: Annotated[str, Check(path_mistake)]
    container_path: Annotated[str, Check(path_mistake)] | None = None
    read_only: bool = True
