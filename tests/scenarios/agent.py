"""An agent process on the node of a scenario: started, stopped, killed and upgraded, with fake cards that can be made to fail."""

import asyncio
import json
import signal
from asyncio.subprocess import Process
from pathlib import Path
from types import TracebackType
from typing import Any

import anyio

from tests.program import PROGRAM, kill
from tests.scenarios.eventually import eventually
from tests.scenarios.node import Node

START_S = 20.0
STOP_S = 10.0
"""Generous, for machines that build and test other things too; what the agent promises is measured elsewhere."""


class Agent:
    """`npu-agent serve` on `node` with the fake backend. Entering starts it, leaving ends it however it is by then.

    `cards` is the option `accelerators` of the fake backend, a number of cards or their descriptions; without ids they are "fake-0",
    "fake-1" and so on. `device_folder` is the backend's option of that name: real device nodes, for which the agent must be root.
    Everything else is a field of the configuration. Its log is `agent.log` in the folder of the scenario.
    """

    def __init__(
        self, node: Node, *, cards: int | list[dict[str, Any]] = 2, device_folder: Path | None = None, **configuration: Any
    ) -> None:
        self.node = node
        self.runtime_dir = node.work / "run"
        self.log = node.work / "agent.log"
        self._process: Process | None = None
        fake: dict[str, Any] = {"accelerators": cards}
        if device_folder is not None:
            fake["device_folder"] = str(device_folder)
        self.configuration: dict[str, Any] = {"backends": {"fake": fake}, "probe_interval_s": 0.1, "scan_interval_s": 0.2, **configuration}

    async def __aenter__(self) -> "Agent":
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if self.is_running:
            await self.kill()
        if error is not None:
            error.add_note(f"The agent said:\n{self.said()}")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self, *options: str) -> None:
        """Start a process; it registers when it is ready to. Options are added to the command line."""
        configuration = self.node.work / "agent.yaml"
        configuration.write_text(json.dumps(self.configuration))  # which is YAML too
        folders = ("--kubelet-dir", str(self.node.kubelet_dir), "--runtime-dir", str(self.runtime_dir))
        argv = self.node.command(PROGRAM, "serve", "--config", str(configuration), *folders, *options)
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*argv, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log)

    async def stop(self) -> None:
        """End it in order (SIGTERM)."""
        assert await self._end(signal.SIGTERM) == 0, self.said()

    async def kill(self) -> None:
        """End it with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def upgrade(self) -> None:
        """Start another process that takes over; return when the one before has ended in order."""
        before = self._process
        assert before is not None, "the agent has not been started"
        await self.start("--replace")
        with anyio.fail_after(STOP_S):
            assert await before.wait() == 0, self.said()

    async def start_another(self, *, status: int) -> None:
        """Start a second process beside this one; return when it has ended by itself with that exit status."""
        mine = self._process
        await self.start()
        second, self._process = self._process, mine
        assert second is not None
        with anyio.fail_after(START_S):
            assert await second.wait() == status, self.said()

    async def fake(self, command: str, *arguments: str) -> None:
        """Have the fake backend carry out a command, such as `fail fake-0`."""
        argv = self.node.command(PROGRAM, "fake", command, "--runtime-dir", str(self.runtime_dir), *arguments)
        with anyio.fail_after(START_S):
            process = await asyncio.create_subprocess_exec(*argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
            output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()

    async def says(self, text: str) -> None:
        """Return when its log has that text."""

        async def log() -> str:
            return self.said()

        await eventually(log, lambda said: text in said, within_s=START_S)

    def said(self) -> str:
        """Return its log so far."""
        return self.log.read_text() if self.log.exists() else ""

    def sockets(self) -> list[Path]:
        """Return the sockets in kubelet's folder that are not kubelet's."""
        return [
            path
            for path in sorted((self.node.kubelet_dir / "device-plugins").iterdir())
            if path.is_socket() and path.name != "kubelet.sock"
        ]

    async def _end(self, number: signal.Signals) -> int:
        process = self._process
        assert process is not None, "the agent has not been started"
        assert process.returncode is None, f"the agent has ended by itself\n{self.said()}"
        if number == signal.SIGKILL:
            kill(process.pid)
        else:
            process.send_signal(number)
        with anyio.fail_after(STOP_S):
            return await process.wait()
