"""Private namespaces of the tests: a run folder, programs that run inside, and the logs of all of it."""

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from tests.e2e import keeper

_CLEAN_UP_S = 180.0  # a large image is tens of thousands of files to remove


class Namespaces:
    """A private mount and PID namespace, and a network of its own where `network` is true, without any link yet but loopback.

    Nothing of it is left after `async with`, or after the death of this process. `run` is its folder, seen alike inside and outside;
    `name` names its cgroups. `programs` is the folder of the programs that `start` starts; `logs` the folder that keeps what they say.
    """

    def __init__(self, programs: Path, logs: Path, *, network: bool = False) -> None:
        self.programs = programs
        self.logs = logs
        # Short, because the paths of sockets are limited to 107 bytes, and not in /run, which the namespace has for itself.
        self.run = Path("/tmp", f"{keeper.PREFIX}{uuid.uuid4().hex[:8]}")
        self.name = self.run.name
        self.first_process = 0
        """The process id, seen from here, of the first process inside."""
        self._network = network
        self._keeper: asyncio.subprocess.Process | None = None
        self._started: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / "keeper.log").open("wb") as log:
            self._keeper = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", keeper.__file__, str(self.run), self.name, *(["network"] if self._network else [])),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # an interrupt from the terminal is not for it
            )
        assert self._keeper.stdout
        try:
            line = await self._keeper.stdout.readline()
            if not line:
                raise AssertionError(f"no namespaces could be made: {(self.logs / 'keeper.log').read_text()}")
            self.first_process = int(line)
            await self._start()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._clean_up()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with anyio.CancelScope(shield=True):
            await self._clean_up()

    def command(self, *argv: str) -> list[str]:
        """Return the command line that runs `argv` inside, in this folder, and ends it when its parent ends."""
        # It stays out of the PID namespace, so that a signal from here reaches it, and needs a /proc that knows it.
        target = (*self._enter(), "--", "unshare", "--mount-proc", "--")
        return [*target, "env", f"--chdir={Path.cwd()}", "setpriv", "--pdeathsig=KILL", "--", *argv]

    async def start(self, program: str, *argv: str | Path) -> "Program":
        """Start one of the programs inside, with its output in a log of its name."""
        search = f"{self.programs}:{os.environ['PATH']}:/usr/sbin:/sbin"
        with (self.logs / f"{program}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(*self._enter(), "--pid", "--", "env", f"PATH={search}", self.programs / program, *argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started.append(process)
        return Program(process)

    async def call(self, *argv: str, said: str = "", within_s: float = 60.0) -> tuple[int, str]:
        """Run a command in the namespaces, with `said` on its standard input; return its exit status and what it printed."""
        status, output, complaints = await _run(self.command(*argv), said, within_s)
        return status, output + complaints

    async def must(self, *argv: str, said: str = "", within_s: float = 60.0) -> str:
        """Run a command that has to succeed; return its standard output."""
        status, output, complaints = await _run(self.command(*argv), said, within_s)
        assert status == 0, f"`{' '.join(argv)}` ended with status {status}:\n{output}{complaints}"
        return output

    async def mount(self, *argv: str) -> None:
        """Run a command that has to succeed and whose mounts are to stay; those of `call` are gone with it."""
        status, output, complaints = await _run([*self._enter(), "--", *argv], "", 60.0)
        assert status == 0, f"`{' '.join(argv)}` ended with status {status}:\n{output}{complaints}"

    async def _start(self) -> None:
        """Start what belongs inside from the beginning."""

    def _enter(self) -> tuple[str, ...]:
        return ("nsenter", f"--target={self.first_process}", "--mount", *(["--net"] if self._network else []))

    async def _clean_up(self) -> None:
        holder = self._keeper
        assert holder
        assert holder.stdin
        holder.stdin.close()
        with anyio.fail_after(_CLEAN_UP_S):
            status = await holder.wait()
            assert status == 0, (self.logs / "keeper.log").read_text()
            for process in self._started:
                await process.wait()
        (self.logs / "keeper.log").unlink()


class Program:
    """A program that runs inside, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    @property
    def process_id(self) -> int:
        # nsenter stands outside the PID namespace and waits for its child, which is the program.
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text())

    async def end(self, number: signal.Signals, *, within_s: float = 30.0) -> None:
        """Send it a signal and return when it has gone."""
        os.kill(self.process_id, number)
        with anyio.fail_after(within_s):
            await self._process.wait()


async def _run(argv: Sequence[str], said: str, within_s: float) -> tuple[int, str, str]:
    """Return the exit status of a command and what it wrote to its standard output and error."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*argv, stdin=pipe, stdout=pipe, stderr=pipe)
    with anyio.fail_after(within_s):
        output, complaints = await process.communicate(said.encode())
    assert process.returncode is not None
    return process.returncode, output.decode(errors="replace"), complaints.decode(errors="replace")
