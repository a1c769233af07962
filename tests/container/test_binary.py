"""The single binary in both forms: that nothing is missing in it, and what only a program that unpacks itself can get wrong."""

import asyncio
import json
import os
import pkgutil
import shutil
import signal
import subprocess
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest
from grpclib.client import Channel

import npu_agent as package
from container import binary
from npu_agent.api.grpc.health.v1 import HealthCheckRequest, HealthCheckResponseServingStatus, HealthStub
from npu_agent.cli import COMMANDS
from tests.cli.running import answers
from tests.container.conftest import Programs
from tests.host_tree import HostTree
from tests.program import agent_pid

pytestmark = pytest.mark.image

END_S = 20.0
FORMS = pytest.mark.parametrize("form", ["one_file", "folder"])
CODE = """
import json, sys
from PyInstaller.archive.readers import CArchiveReader
print(json.dumps([*CArchiveReader(sys.argv[1]).open_embedded_archive("PYZ.pyz").toc]))
"""


def ran(program: Path, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with nothing of the environment but `variables`."""
    return subprocess.run([program, *arguments], env=variables, capture_output=True, text=True, check=False)


@dataclass(frozen=True, slots=True)
class Serving:
    """A process of `serve`, its runtime folder, and the folder in which it unpacks itself."""

    process: asyncio.subprocess.Process
    runtime_dir: Path
    unpacked: Path

    async def said(self) -> str:
        """Return what it said, when it and what it started have ended."""
        with anyio.fail_after(END_S):
            said, _ = await self.process.communicate()
        return said.decode()


@asynccontextmanager
async def serving(program: Path, folder: Path, backend: str = "fake") -> AsyncIterator[Serving]:
    """Yield a `serve` that answers on its socket."""
    unpacked, runtime_dir = folder / "tmp", folder / "run"
    unpacked.mkdir()
    options = ("--kubelet-dir", folder / "kubelet", "--runtime-dir", runtime_dir, "-b", backend)
    process = await asyncio.create_subprocess_exec(
        *(program, "serve", *options), env={"TMPDIR": str(unpacked)}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        await answers(runtime_dir)
        yield Serving(process, runtime_dir, unpacked)
    finally:
        if process.returncode is None:
            os.kill(agent_pid(process.pid), signal.SIGKILL)
            await process.wait()


@FORMS
def test_each_command_is_there_and_needs_nothing_of_the_host(form: str, programs: Programs) -> None:
    program: Path = getattr(programs, form)
    assert ran(program, "version").stdout == f"npu-agent {package.__version__}\n"
    for command in COMMANDS:
        helped = ran(program, command, "--help")
        assert helped.returncode == 0, helped.stderr
        assert f"npu-agent {command}" in helped.stdout


@FORMS
def test_each_module_and_each_family_is_there(form: str, programs: Programs, tmp_path: Path) -> None:
    listed = subprocess.run([programs.python, "-c", CODE, getattr(programs, form)], capture_output=True, text=True, check=True).stdout
    modules = {module.name for module in pkgutil.walk_packages(package.__path__, "npu_agent.")} - {"npu_agent.__main__"}
    assert modules <= {*json.loads(listed)}
    machine = HostTree(tmp_path)
    machine.rngd(index=0)
    machine.warboy(index=0)
    told = json.loads(ran(getattr(programs, form), "list", "--host-root", tmp_path, "--runtime-dir", tmp_path / "run", "-o", "json").stdout)
    assert {card["family"] for card in told["accelerators"]} == {"rngd", "warboy"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=str)
@FORMS
async def test_a_signal_ends_the_agent_in_order_and_nothing_is_left(
    form: str, number: signal.Signals, programs: Programs, short_dir: Path
) -> None:
    async with serving(getattr(programs, form), short_dir) as agent:
        assert bool([*agent.unpacked.iterdir()]) == (form == "one_file")
        agent.process.send_signal(number)
        assert f"{number.name}: ending in order" in await agent.said()
        assert agent.process.returncode == 0
        assert [*agent.unpacked.iterdir()] == []


async def test_what_unpacked_the_agent_ends_with_it_and_cleans_up_also_when_it_is_killed(programs: Programs, short_dir: Path) -> None:
    async with serving(programs.one_file, short_dir) as agent:
        assert agent_pid(agent.process.pid) != agent.process.pid
        os.kill(agent_pid(agent.process.pid), signal.SIGKILL)
        await agent.said()
        assert agent.process.returncode == -signal.SIGKILL
        assert [*agent.unpacked.iterdir()] == []


async def test_an_agent_whose_program_is_replaced_goes_on_with_its_own_code(programs: Programs, short_dir: Path) -> None:
    program = short_dir / "npu-agent"
    shutil.copy(programs.one_file, program)
    async with serving(program, short_dir) as agent:
        newer = short_dir / "newer"
        newer.write_bytes(b"another version, with other code at the same place" * 500_000)
        newer.rename(program)
        async with Channel(path=str(agent.runtime_dir / "agent.sock")) as channel:
            with anyio.fail_after(END_S):
                answer = await HealthStub(channel).check(HealthCheckRequest())  # what answers is imported when it is asked
        assert answer.status == HealthCheckResponseServingStatus.SERVING
        agent.process.send_signal(signal.SIGTERM)
        said = await agent.said()
        assert agent.process.returncode == 0, said
        assert "Traceback" not in said


def test_a_backend_of_a_third_party_is_there_if_it_was_when_the_program_was_built(tmp_path: Path) -> None:
    wheel = tmp_path / "acme_npu-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as files:
        files.writestr("acme/__init__.py", "")
        files.writestr("acme/late.py", "import bz2, multiprocessing\nREASON = 'acme has no cards today'\n")
        files.writestr("acme/backend.py", BACKEND)
        files.writestr("acme_npu-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme-npu\nVersion: 1.0\n")
        files.writestr("acme_npu-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        files.writestr("acme_npu-1.0.dist-info/entry_points.txt", "[npu_agent.backends]\nacme = acme.backend:Acme\n")
        files.writestr("acme_npu-1.0.dist-info/RECORD", "")
    requirements = tmp_path / "backends.txt"
    requirements.write_text(f"{wheel}\n")
    assert binary.build(tmp_path / "dist", tmp_path / "work", backends=requirements)
    listed = ran(tmp_path / "dist" / binary.ONE_FILE, "list", "-b", "acme", "--runtime-dir", tmp_path)
    assert "acme has no cards today" in listed.stderr


BACKEND = """
import importlib

from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError


class Acme(Backend):
    def __init__(self, options, *, host_root, probe_timeout_s=2.0):
        pass

    async def scan(self):
        raise BackendError(importlib.import_module("acme.late").REASON)

    async def probe(self, accelerator):
        raise NotImplementedError
"""
