"""The unit for systemd: the agent in it has what it needs, nothing else, and comes back."""

import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from container import binary, builder
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.container.conftest import Programs
from tests.container.system import SYSTEMD, System, running_system
from tests.scenarios.eventually import eventually

pytestmark = pytest.mark.image

UNIT = binary.ROOT / "container" / "npu-agent.service"
PROGRAM = "/usr/local/bin/npu-agent"
WITHIN_S = 30.0


@pytest.fixture(autouse=True, scope="session")
def _systemd() -> None:
    if not SYSTEMD.exists():
        builder.install("systemd")


@pytest.fixture
async def system(programs: Programs, short_dir: Path) -> AsyncIterator[System]:
    async with running_system(short_dir, UNIT, programs.one_file, "NPU_AGENT_BACKEND=fake\n") as running:
        yield running


async def offered(kubelet: SimulatedKubelet) -> None:
    """Return when kubelet has cards of the agent."""

    async def count() -> int:
        seen = kubelet.quantities().get("furiosa.ai/npu")
        return seen.allocatable if seen else 0

    await eventually(count, bool, within_s=WITHIN_S)


async def test_the_agent_serves_kubelet_with_nothing_that_root_has_but_its_name(system: System) -> None:
    assert not (system.kubelet_dir / "device-plugins").exists()
    assert await system.systemctl("start", UNIT.name) == ""
    async with SimulatedKubelet(system.kubelet_dir) as kubelet:
        await kubelet.start()
        await offered(kubelet)
    unpacker, agent = system.processes(PROGRAM)
    for process in (unpacker, agent):
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert (status["Uid"].split()[0], status["NoNewPrivs"], status["Seccomp"]) == ("0", "1", "2")
    places = ("", "bin", "etc", "opt", "run", "sys", "tmp", "usr", "var/lib", "proc/sys", "sys/fs/cgroup")
    theirs = ("run/npu-agent", "var/cache/npu-agent", "var/lib/kubelet", "var/lib/kubelet/device-plugins")
    writable = {place for place in (*places, *theirs) if os.access(f"/proc/{agent}/root/{place}", os.W_OK)}
    assert writable == {"run/npu-agent", "var/cache/npu-agent", "var/lib/kubelet/device-plugins", "tmp"}
    assert not [*Path(f"/proc/{agent}/root/tmp").iterdir()]  # its own and not the host's
    assert (await system.shows(UNIT.name, "ActiveState", "NRestarts")) == {"ActiveState": "active", "NRestarts": "0"}


async def test_an_agent_that_is_killed_comes_back_and_what_it_unpacked_does_not_stay(system: System) -> None:
    async with SimulatedKubelet(system.kubelet_dir) as kubelet:
        await kubelet.start()
        assert await system.systemctl("start", UNIT.name) == ""
        await offered(kubelet)
        before = system.processes(PROGRAM)
        for process in before:
            os.kill(process, signal.SIGKILL)

        async def other() -> bool:
            now = system.processes(PROGRAM)
            return len(now) == 2 and not {*now} & {*before}

        await eventually(other, bool, within_s=WITHIN_S)
        await offered(kubelet)
        (unpacked,) = system.inside("/var/cache/npu-agent").iterdir()
        assert await system.systemctl("stop", UNIT.name) == ""
    assert await system.shows(UNIT.name, "ActiveState", "Result") == {"ActiveState": "inactive", "Result": "success"}
    assert not unpacked.exists()
    assert "SIGTERM: ending in order" in system.log.read_text()
    assert list((system.kubelet_dir / "device-plugins").glob("npu-agent*")) == []
    assert system.inside("/run/npu-agent").exists()


async def test_a_wrong_configuration_is_told_and_not_tried_again(programs: Programs, short_dir: Path) -> None:
    async with running_system(short_dir, UNIT, programs.one_file, "NPU_AGENT_BACKEND=nonsense\n") as system:
        await system.systemctl("start", UNIT.name)

        async def state() -> str:
            return (await system.shows(UNIT.name, "ActiveState"))["ActiveState"]

        await eventually(state, lambda seen: seen == "failed", within_s=WITHIN_S)
        with anyio.move_on_after(2):  # longer than it waits between two tries
            await anyio.sleep_forever()
        assert await system.shows(UNIT.name, "ActiveState", "ExecMainStatus", "NRestarts") == {
            "ActiveState": "failed",
            "ExecMainStatus": "2",
            "NRestarts": "0",
        }
        assert "there is no backend 'nonsense'" in system.log.read_text()


def test_systemd_finds_no_mistake_in_it_and_little_that_it_leaves_open(programs: Programs, tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(PROGRAM, str(shutil.copy(programs.one_file, tmp_path))))
    verified = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True, check=True)
    assert verified.stdout + verified.stderr == ""
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=22", "--no-pager", UNIT], capture_output=True, text=True, check=False
    )
    assert judged.returncode == 0, judged.stdout
