"""The command line as people and scripts use it: its exit code and what it said on each stream."""

import os
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from npu_agent.cli import app
from npu_agent.control.client import AgentClient
from npu_agent.control.errors import AgentUnreachable
from tests.scenarios.eventually import eventually


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it said."""

    returncode: int
    stdout: str
    stderr: str


def npu_agent(*arguments: str | Path, **variables: str) -> Ran:
    """Run `npu-agent` to its end in this process, which saves the start of another."""
    nothing: dict[str, str | None] = {name: None for name in os.environ if name.startswith("NPU_AGENT_")}
    result = CliRunner().invoke(app, [*map(str, arguments)], env=nothing | variables, prog_name="npu-agent")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ran(result.exit_code, result.stdout, result.stderr)


async def answers(runtime_dir: Path) -> None:
    """Return when an agent answers in that folder, and has looked for its cards."""

    async def look() -> bool:
        try:
            async with AgentClient(runtime_dir) as client:
                return bool((await client.status()).accelerators)
        except AgentUnreachable:
            return False

    await eventually(look, bool, within_s=20)
