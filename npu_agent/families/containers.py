"""What a container gets with a card: device nodes, and files of the host."""

from typing import Annotated

import msgspec
from msgspec import Meta

from npu_agent.core.rules import Check
from npu_agent.families.texts import node_path_mistake, path_mistake, permissions_mistake


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A device node of a card, or one for each value of `each`."""

    path: Annotated[str, Check(node_path_mistake), Meta(description="where it is on the host")]
    container_path: Annotated[str, Check(path_mistake), Meta(description="and in the container, if that differs")] | None = None
    permissions: Annotated[str, Check(permissions_mistake), Meta(description="what the container may do: some of `rwm`")] = "rw"
    required: Annotated[
        bool,
        Meta(description="an allocation fails with a clear message without a required node; another is left out where the host has none"),
    ] = True
    each: Annotated[list[str], Meta(description="texts that `{each}` in the path stands for, one after another: many nodes in a line")] = []
    divided: Annotated[
        bool,
        Meta(description="a part of the card gets only those of `each` that it names, and none without `each`"),
    ] = False
    shared: Annotated[
        bool, Meta(description="whether it belongs to no card alone, so that containers with other cards are given the same one")
    ] = False
    folder: Annotated[str, Meta(description="the `class.folder` of the cards that have the node; left out for all")] = msgspec.field(
        name="class", default=""
    )


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A file or folder of the host that containers get."""

    host_path: Annotated[str, Check(path_mistake), Meta(description="where it is on the host; a `*` stands for all that there are")]
    container_path: Annotated[str, Check(path_mistake), Meta(description="where it is in the container, if that differs")] | None = None
    read_only: Annotated[bool, Meta(description="whether the container may only read it")] = True
    required: (
        Annotated[
            bool,
            Meta(
                description="`true`: an allocation fails without it; `false`: it is left out where the host has none. If not given, nobody"
                " looks for it: an agent in a pod sees only what is mounted there"
            ),
        ]
        | None
    ) = None
