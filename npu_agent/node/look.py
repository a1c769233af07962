"""One look at the node without a running agent: the same value, made by the same code."""

from collections.abc import Mapping
from pathlib import Path

import anyio

from npu_agent.config.configuration import Configuration
from npu_agent.core.state import NodeState
from npu_agent.node.holding import Ask
from npu_agent.node.node import Node
from npu_agent.node.tracker import Asked

SCAN_WITHIN_S = 10.0
PATIENCE_S = 2.0
"""Seconds beyond the timeout of a probe within which a card is read, or told as not read."""


async def look(
    configuration: Configuration, backends: Mapping[str, Asked], *, host_root: Path, ask: Ask
) -> tuple[NodeState, frozenset[str]]:
    """Return what an agent with `configuration` would find on this host now, and the optional device nodes that are not there."""
    node = Node(configuration, backends, host_root=host_root, ask=ask)
    ready = anyio.Event()
    async with anyio.create_task_group() as tasks:

        async def run() -> None:
            await node.run(ready, scan_within_s=SCAN_WITHIN_S, read_within_s=configuration.probe_timeout_s + PATIENCE_S)

        tasks.start_soon(run)
        await ready.wait()
        absent = await node.absent_nodes()
        state = node.writer.publish()
        tasks.cancel_scope.cancel()
    return state, absent
