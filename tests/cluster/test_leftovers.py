"""A cluster of the tests leaves nothing behind, whatever becomes of the tests."""

import asyncio
import signal
import sys
from pathlib import Path

import anyio

from tests.e2e import keeper
from tests.e2e.processes import processes_with
from tests.scenarios.eventually import eventually

_TESTS = """
import asyncio, sys
from pathlib import Path
from tests.cluster.cluster import Cluster
from tests.cluster.pods import pod, pod_spec, runs

async def main():
    async with Cluster(Path(sys.argv[1]), Path(sys.argv[2])) as cluster:
        async with cluster.namespace() as namespace:
            await cluster.apply(pod(namespace, "one", pod_spec(0)))
            await runs(cluster, namespace, 1)
            print(*(machine.run for machine in (cluster.control, *cluster.nodes)), flush=True)
            await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_nothing_is_left_of_a_cluster_whose_tests_are_killed(programs: Path, tmp_path: Path) -> None:
    tests = await asyncio.create_subprocess_exec(*(sys.executable, "-c", _TESTS, programs, tmp_path), stdout=asyncio.subprocess.PIPE)
    assert tests.stdout
    with anyio.fail_after(120):
        runs = [Path(name) for name in (await tests.stdout.readline()).decode().split()]
    assert len(runs) == 3
    assert all([await processes_with(str(run)) for run in runs])
    tests.send_signal(signal.SIGKILL)
    await tests.wait()
    await eventually(lambda: _left(runs), lambda left: not left, within_s=60)


async def _left(runs: list[Path]) -> list[str]:
    """Return what there is of machines: processes, their folders and cgroups, mounts. Their networks are their processes'."""
    left = []
    for run in runs:
        cgroups = [hierarchy / run.name for hierarchy in keeper.hierarchies()]
        left += [str(path) for path in (run, Path("/var/lib/kubelet", run.name), *cgroups) if path.exists()]
        left += [line for line in Path("/proc/mounts").read_text().splitlines() if str(run) in line]
        left += await processes_with(str(run))
    return left
