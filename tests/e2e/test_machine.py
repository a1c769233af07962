"""A machine of the tests leaves nothing behind, whatever becomes of the tests."""

import asyncio
import signal
import sys
from pathlib import Path

import anyio
import pytest

from tests.e2e import keeper
from tests.e2e.processes import processes_with
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
    assert await processes_with(str(run))
    tests.send_signal(number)
    with anyio.fail_after(30):
        await tests.wait()
    await eventually(lambda: processes_with(str(run)), lambda left: not left)
    assert not run.exists()
    assert not _cgroups(run.name)
    assert not Path("/var/lib/kubelet", run.name).exists()
    assert str(run) not in Path("/proc/mounts").read_text()


def _cgroups(name: str) -> list[Path]:
    return [hierarchy / name for hierarchy in keeper.hierarchies() if (hierarchy / name).exists()]
