import asyncio
import os
import pty
import re
import signal
import sys
from pathlib import Path

import anyio
import pytest

from tests.program import PROGRAM

STEP = re.compile(r" *\d+\.\d\d s  (kubelet|agent|pod|card|done) +\S")


async def demo(folder: Path, *, stdout: int, stderr: int) -> asyncio.subprocess.Process:
    """Start a demo whose temporary folder is made below `folder`."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    return await asyncio.create_subprocess_exec(PROGRAM, "demo", env=environment, stdout=stdout, stderr=stderr)


async def test_the_demo_tells_each_step_with_its_time_plain_in_a_pipe_and_leaves_nothing(short_dir: Path) -> None:
    with anyio.fail_after(30):
        process = await demo(short_dir, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        output, _ = await process.communicate()
    told = output.decode()
    assert process.returncode == 0, told
    steps = [match[1] for line in told.splitlines() if (match := STEP.match(line))]
    assert steps == ["kubelet", "agent", "pod", "pod", "pod", "card", "card", "kubelet", "agent", "done"]
    assert "requested number of devices unavailable for furiosa.ai/npu. Requested: 2, Available: 1" in told
    assert "default/single/main" in told
    assert "\x1b" not in told
    assert list(short_dir.iterdir()) == []


async def test_the_demo_is_in_colour_on_a_terminal_and_cleans_up_when_it_is_ended(short_dir: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        process = await demo(short_dir, stdout=theirs, stderr=theirs)
        with anyio.fail_after(30):
            await anyio.wait_readable(ours)
            assert b"\x1b[" in os.read(ours, 4096)
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 1
    finally:
        os.close(ours)
        os.close(theirs)
    assert list(short_dir.iterdir()) == []


async def test_a_step_that_fails_ends_the_demo_with_the_reason_and_status_1(short_dir: Path) -> None:
    elsewhere = {**os.environ, "TMPDIR": str(short_dir), "NPU_AGENT_LOG_FORMAT": "nonsense"}
    with anyio.fail_after(30):
        process = await asyncio.create_subprocess_exec(PROGRAM, "demo", env=elsewhere, stderr=asyncio.subprocess.PIPE)
        _, output = await process.communicate()
    assert process.returncode == 1
    assert "npu-agent: the demo failed: npu-agent serve ended with status 2" in output.decode()
    assert "Traceback" not in output.decode()


@pytest.mark.parametrize("typed", [[PROGRAM], [sys.executable, "-m", "npu_agent"]])
async def test_the_commands_that_the_demo_ends_with_work_where_npu_agent_is_not_on_the_path(typed: list[str], short_dir: Path) -> None:
    elsewhere = {**os.environ, "TMPDIR": str(short_dir), "PATH": "/usr/bin:/bin"}
    with anyio.fail_after(30):
        process = await asyncio.create_subprocess_exec(*typed, "demo", env=elsewhere, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        named = re.search(r"All of it again: (.*) demo\. To play yourself: (.*)$", output.decode(), re.MULTILINE)
        assert named is not None, output.decode()
        for command in (f"{named[1]} demo --help", named[2]):
            helped = await asyncio.create_subprocess_shell(command, env=elsewhere, stdout=asyncio.subprocess.DEVNULL)
            assert await helped.wait() == 0, command
