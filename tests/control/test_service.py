"""The agent's own API, as whoever follows it sees it."""

from collections.abc import Sequence
from pathlib import Path

import anyio

from npu_agent.api.npu_agent.v1 import Status
from npu_agent.control.client import AgentClient
from npu_agent.control.service import serving
from npu_agent.core.state import NodeState
from npu_agent.flow.current import Current
from npu_agent.observe.probes import Probes


class Counting:
    """An agent whose status is a count of changes, of which one comes while the first status is told."""

    def __init__(self) -> None:
        self.changes = Current(0)
        self.probes = Probes(NodeState, lambda: None, lambda: ())
        self.looks = 0

    async def status(self, *, with_holders: bool, details_of: str) -> Status:
        seen = self.changes.value
        self.looks += 1
        if self.looks == 1:
            # Something changes after the look, and before whoever follows can wait for the next change.
            self.changes.set(seen + 1)
        return Status(process_id=seen)

    async def command(self, backend: str, command: str, arguments: Sequence[str]) -> str:
        return ""

    def shut_down(self) -> None:
        return None


async def test_a_change_while_a_status_is_told_is_told_next(short_dir: Path) -> None:
    agent = Counting()
    async with serving(agent, short_dir), AgentClient(short_dir) as client:
        with anyio.fail_after(5):
            told = []
            async for status in client.follow():
                told.append(status.process_id)
                if len(told) == 2:
                    break
    assert told == [0, 1]
