"""The agent as the first process of its container, to which the kernel gives no signal that it does not take, and every orphan."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.host_tree import HostTree
from tests.program import PROGRAM, environment
from tests.scenarios.eventually import eventually

START_S = 20.0
END_S = 10.0
"""Generous, for machines that test other things too."""


class FirstProcess:
    """A process that is the first one of its namespace. `pid` is its number here, `unshare` the process that started it."""

    def __init__(self, unshare: asyncio.subprocess.Process) -> None:
        self._unshare = unshare
        self.pid = 0

    async def find(self) -> None:
        """Return when it is there."""

        async def children() -> list[int]:
            return children_of(self._unshare.pid)

        (self.pid,) = await eventually(children, bool, within_s=START_S)

    async def takes_signals(self) -> None:
        """Return when it has signals to end wait, or catches them.

        Python itself catches SIGINT from its first moment on, and before it there is a copy of unshare that has both wait.
        """

        async def are_kept() -> bool:
            lines = dict(line.split(":\t", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
            return lines["Name"] != "unshare" and bool((int(lines["SigBlk"], 16) | int(lines["SigCgt"], 16)) >> (signal.SIGTERM - 1) & 1)

        await eventually(are_kept, bool, within_s=START_S)

    async def ended(self) -> int:
        """Return its exit status."""
        with anyio.fail_after(END_S):
            return await self._unshare.wait()


def children_of(pid: int) -> list[int]:
    return [*map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


@asynccontextmanager
async def first_process(*argv: str | Path) -> AsyncIterator[FirstProcess]:
    as_root = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    unshare = await asyncio.create_subprocess_exec(
        "unshare", *as_root, "--pid", "--fork", "--kill-child", "--mount-proc", *argv, env=environment()
    )
    try:
        process = FirstProcess(unshare)
        await process.find()
        yield process
    finally:
        if unshare.returncode is None:
            unshare.kill()
            await unshare.wait()


@pytest.fixture
def folders(short_dir: Path) -> tuple[str, ...]:
    (short_dir / "kubelet/device-plugins").mkdir(parents=True)
    return ("--kubelet-dir", f"{short_dir}/kubelet", "--runtime-dir", f"{short_dir}/run")


async def test_processes_that_nobody_waits_for_do_not_stay(short_dir: Path, folders: tuple[str, ...]) -> None:
    script = '((sleep 0.05)&); ((sleep 1)&); exec "$@"'
    async with first_process("sh", "-c", script, "sh", PROGRAM, "serve", "-b", "fake", *folders) as agent:

        async def children() -> list[int]:
            return children_of(agent.pid) if (short_dir / "run/agent.sock").exists() else [0]

        await eventually(children, lambda there: not there, within_s=START_S)
        os.kill(agent.pid, signal.SIGTERM)
        assert await agent.ended() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
async def test_a_signal_that_comes_while_the_program_is_imported_ends_it_in_order(
    short_dir: Path, folders: tuple[str, ...], number: signal.Signals
) -> None:
    program = f"""
import os, sys
from npu_agent.__main__ import main

class ToldMeanwhile:
    def find_spec(self, name, path=None, target=None):
        if name == "npu_agent.cli":
            os.kill(os.getpid(), {int(number)})

sys.meta_path.insert(0, ToldMeanwhile())
main()
"""
    argv = (sys.executable, "-c", program, "serve", "-b", "fake", *folders)
    agent = await asyncio.create_subprocess_exec(*argv, env=environment(), stderr=asyncio.subprocess.PIPE)
    with anyio.fail_after(START_S):
        _, said = await agent.communicate()
    assert agent.returncode == 0
    assert f"{number.name}: ending in order" in said.decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
@pytest.mark.parametrize("moment", ["at once", "with its lock", "with its socket"])
async def test_it_ends_in_order_whenever_it_is_told_to_also_while_a_card_hangs(
    short_dir: Path, folders: tuple[str, ...], moment: str, number: signal.Signals
) -> None:
    tree = HostTree(short_dir / "host")
    tree.hang(tree.rngd(index=0), "device_state")
    run = short_dir / "run"
    async with first_process(PROGRAM, "serve", "-b", "sysfs", "--host-root", tree.root, *folders) as agent:
        await agent.takes_signals()
        if moment != "at once":

            async def is_there() -> bool:
                return (run / {"with its lock": "agent.lock", "with its socket": "agent.sock"}[moment]).exists()

            await eventually(is_there, bool, within_s=START_S)
        os.kill(agent.pid, number)
        assert await agent.ended() == 0
    assert {path.name for path in run.glob("*")} <= {"agent.lock", "allocations.json"}
    assert list((short_dir / "kubelet/device-plugins").iterdir()) == []
