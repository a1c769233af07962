import asyncio
import signal
from pathlib import Path

import anyio
import pytest
from grpclib.client import Channel

from npu_agent.api.v1beta1 import RegisterRequest, RegistrationStub
from tests.program import PROGRAM


async def simulate(*argv: str | Path, stdin: int = asyncio.subprocess.PIPE) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        PROGRAM, "simulate-kubelet", "--kubelet-dir", *argv, stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )


def input_of(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    assert process.stdin is not None
    return process.stdin


def output_of(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    assert process.stdout is not None
    return process.stdout


async def test_it_answers_as_kubelet_prints_what_happens_and_takes_commands(short_dir: Path) -> None:
    process = await simulate(short_dir, "--version", "1.32.9")
    with anyio.fail_after(20):
        assert b"kubelet 1.32.9 is started; removed nothing" in await output_of(process).readline()
        assert str(short_dir).encode() in await output_of(process).readline()
        await output_of(process).readline()
        async with Channel(path=str(short_dir / "device-plugins" / "kubelet.sock")) as channel:
            with pytest.raises(Exception, match='the ResourceName "npu" is invalid'):
                await RegistrationStub(channel).register(RegisterRequest(version="v1beta1", resource_name="npu"))
        assert b"Got registration request from device plugin with resource npu" in await output_of(process).readline()
        input_of(process).write(b"capacity\nnonsense\nquit\n")
        output = await output_of(process).read()
        assert await process.wait() == 0
    assert b"no plugin has registered yet" in output
    assert b"there is no command 'nonsense'" in output


async def test_without_input_it_runs_until_it_is_ended(short_dir: Path) -> None:
    process = await simulate(short_dir, stdin=asyncio.subprocess.DEVNULL)
    with anyio.fail_after(20):
        await output_of(process).readline()
        with pytest.raises(TimeoutError), anyio.fail_after(0.2):
            await process.wait()
        process.send_signal(signal.SIGINT)
        await process.wait()


async def test_a_folder_in_which_a_kubelet_answers_is_left_alone(short_dir: Path) -> None:
    first = await simulate(short_dir)
    with anyio.fail_after(20):
        await output_of(first).readline()
        second = await simulate(short_dir)
        output, _ = await second.communicate()
        assert second.returncode == 1
        assert b"answers in" in output
        input_of(first).write(b"quit\n")
        assert await first.wait() == 0


async def test_a_folder_or_version_that_cannot_be_is_refused_in_one_line(short_dir: Path) -> None:
    for argv, status, said in [
        ((short_dir, "--version", "1.2"), 2, b"--version"),
        ((short_dir / ("x" * 120),), 1, b"cannot be kubelet in"),
    ]:
        process = await simulate(*argv)
        with anyio.fail_after(20):
            output, _ = await process.communicate()
        assert process.returncode == status
        assert said in output
        assert len(output.splitlines()) == 1
