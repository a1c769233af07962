"""A machine of the tests leaves nothing behind, whatever becomes of the tests."""

import asyncio
import signal
import sys
from pathlib import Path

import anyio
import pytest

from tests.e2e import keeper
from tests.scenarios.eventually import eventually

_TESTS = """
import asyncio, sys
from pathlib import Path
from tests.e2e.api_server import ApiServer
from tests.e2e.machine import Machine
from tests.e2e.node import RealNode
from tests.scenarios.node import pod

async def main():
    api_server = ApiServer()
    try:
        async with Machine(Path(sys.argv[1]), Path(sys.argv[2])) as machine:
            node = RealNode(machine, api_server)
            await node.start_kubelet()
            await node.run_pod(pod("one"))
            print(machine.run, flush=True)
            await asyncio.Event().wait()
    finally:
        api_server.close()

asyncio.run(main())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
async def test_nothing_is_left_of_a_machine_when_its_tests_end_by(number: signal.Signals, programs: Path, tmp_path: Path) -> None:
    tests = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _TESTS, programs, tmp_path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert tests.stdout
    with anyio.fail_after(30):
        run = Path((await tests.stdout.readline()).decode().strip())
    assert _cgroups(run.name)
    assert await _processes(str(run))
    tests.send_signal(number)
    with anyio.fail_after(30):
        await tests.wait()
    await eventually(lambda: _processes(str(run)), lambda left: not left)
    assert not run.exists()
    assert not _cgroups(run.name)
    assert not Path("/var/lib/kubelet", run.name).exists()
    assert str(run) not in Path("/proc/mounts").read_text()


def _cgroups(name: str) -> list[Path]:
    return [hierarchy / name for hierarchy in keeper.hierarchies() if (hierarchy / name).exists()]


async def _processes(text: str) -> list[str]:
    """Return the processes that have `text` in their command line: the keeper, containerd, its shims and kubelet."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if text in line:
            found.append(line)
    return found
