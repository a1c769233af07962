"""Process 1 waits for those that nobody else waits for. What it is given is like any child that nobody waits for."""

import asyncio
import os
from collections.abc import AsyncIterator

import anyio
import pytest

from npu_agent.host.reaper import reap_orphans
from tests.scenarios.eventually import eventually

SOON_S = 0.05


@pytest.fixture
async def reaping() -> AsyncIterator[None]:
    task = asyncio.create_task(reap_orphans(awaited_within_s=SOON_S))
    yield
    task.cancel()
    await asyncio.wait([task])


def start(program: str) -> int:
    """Start a process that nobody waits for."""
    return os.posix_spawn("/bin/sh", ["sh", "-c", program], {})


def has_ended(process: int) -> bool:
    """Return once it has, without taking its exit status."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT) is not None


def known(process: int) -> bool:
    try:
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


async def is_waited_for(process: int) -> None:
    async def look() -> bool:
        return known(process)

    await eventually(look, lambda there: not there)


async def test_what_ended_before_and_what_ends_later_is_waited_for() -> None:
    before = start("exit 3")
    assert has_ended(before)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: reap_orphans(awaited_within_s=SOON_S))
        for process in (before, *(start("exit 4") for _ in range(20))):
            await is_waited_for(process)
        later = start("exit 5")
        await is_waited_for(later)
        tasks.cancel_scope.cancel()


@pytest.mark.usefixtures("reaping")
async def test_what_we_started_is_left_to_whoever_awaits_it() -> None:
    for status in range(20):
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"exit {status}")
        assert await process.wait() == status


@pytest.mark.usefixtures("reaping")
async def test_what_still_runs_is_left_alone() -> None:
    running, ended = start("exec sleep 60"), start("exit 0")
    await is_waited_for(ended)
    assert known(running)
    os.kill(running, 9)
    await is_waited_for(running)


async def test_where_the_children_cannot_be_told_it_is_said_and_nothing_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "getpid", lambda: 2**22 + 1)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reap_orphans)
        with anyio.fail_after(5):
            while not caplog.messages:
                await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert caplog.messages == [
        "/proc/self/task/4194305/children cannot be read: No such file or directory; processes that end in this container stay as zombies"
    ]
