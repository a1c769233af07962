"""A systemd of its own for a unit: process 1 of private namespaces, with the unit's program, its options, and a folder for kubelet's."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio

from tests.scenarios.eventually import eventually

START_S = 30.0
_HIERARCHY = Path("/sys/fs/cgroup/systemd")
SYSTEMD = Path("/lib/systemd/systemd")

# The folder is $1. What systemd and the unit write to is private, and so is /dev, in which systemd makes what it misses.
_INSIDE = f"""
set -eu
cd "$1"
mkdir dev
mount -t tmpfs -o mode=755 dev dev
cp -ax /dev/. dev
rm -f dev/console
touch dev/console
mount --rbind dev /dev
mount -t proc proc /proc
mkdir -p /var/lib/kubelet
mount --bind kubelet /var/lib/kubelet
mount --bind options /etc/default
mount --bind bin /usr/local/bin
mount -t tmpfs cache /var/cache
mount -t tmpfs run /run
mount -t tmpfs cgroup /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
export container=tests SYSTEMD_UNIT_PATH="$1/units"
exec {SYSTEMD} --system --unit=tests.target --log-target=console --show-status=no > /dev/console 2>&1
"""

_TARGETS = ("tests", "sysinit", "basic", "shutdown", "multi-user")
_TARGET = """
[Unit]
Description=What systemd insists on
DefaultDependencies=no
"""


@dataclass(frozen=True, slots=True)
class System:
    """A running systemd, seen from outside. `kubelet_dir` is /var/lib/kubelet inside."""

    folder: Path
    first_process: int

    @property
    def kubelet_dir(self) -> Path:
        return self.folder / "kubelet"

    @property
    def log(self) -> Path:
        """What the unit says."""
        return self.folder / "unit.log"

    def inside(self, path: str) -> Path:
        """Return how a path inside is reached from here."""
        return Path(f"/proc/{self.first_process}/root{path}")

    async def systemctl(self, *arguments: str) -> str:
        """Run it inside and return what it printed."""
        target = ("nsenter", f"--target={self.first_process}", "--mount", "--pid", "--cgroup", "--")
        process = await asyncio.create_subprocess_exec(
            *target, "systemctl", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        with anyio.fail_after(START_S):
            said, _ = await process.communicate()
        return said.decode()

    async def shows(self, unit: str, *names: str) -> dict[str, str]:
        """Return what systemd has for these properties of a unit."""
        said = await self.systemctl("show", unit, *(f"--property={name}" for name in names))
        return dict(line.split("=", 1) for line in said.splitlines())

    def processes(self, program: str) -> list[int]:
        """Return the processes of a program inside, in the order in which they were started."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                root, exe = folder.joinpath("ns/pid").readlink(), folder.joinpath("exe").readlink()
                if root == Path(f"/proc/{self.first_process}/ns/pid").readlink() and str(exe) == program:
                    found.append(int(folder.name))
        return sorted(found)


@asynccontextmanager
async def running_system(folder: Path, unit: Path, program: Path, options: str) -> AsyncIterator[System]:
    """Yield a systemd that knows `unit`, whose program is in /usr/local/bin and whose options are in /etc/default.

    Nothing of it is left afterwards.
    """
    for name in ("units", "options", "bin", "kubelet"):
        (folder / name).mkdir(exist_ok=True)
    shutil.copy(unit, folder / "units")
    dropins = folder / "units" / f"{unit.name}.d"
    dropins.mkdir()
    (dropins / "log.conf").write_text(f"[Service]\nStandardOutput=append:{folder}/unit.log\nStandardError=inherit\n")
    for target in _TARGETS:
        (folder / "units" / f"{target}.target").write_text(_TARGET)
    (folder / "options" / unit.stem).write_text(options)
    shutil.copy(program, folder / "bin")
    control_group = _HIERARCHY / f"npu-image-{folder.name}"
    control_group.mkdir()
    namespaces = ("unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup", "--kill-child", "--propagation=private")
    joined = ("sh", "-c", f'echo $$ > {control_group}/cgroup.procs && exec "$@"', "sh")
    process = await asyncio.create_subprocess_exec(
        *(*joined, *namespaces, "sh", "-c", _INSIDE, "sh", str(folder)), stdin=asyncio.subprocess.DEVNULL
    )
    try:
        yield await _started(process, folder)
    except BaseException as error:
        for log in (folder / "unit.log", folder / "dev" / "console"):
            error.add_note(f"{log.name}:\n{log.read_text(errors='replace')[-4000:] if log.exists() else ''}")
        raise
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        await _removed(control_group)


async def _started(process: asyncio.subprocess.Process, folder: Path) -> System:
    async def first() -> int:
        assert process.returncode is None, "no systemd could be started"
        with suppress(OSError):
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                if str(Path(f"/proc/{child}/exe").readlink()) == os.path.realpath(SYSTEMD):
                    return int(child)
        return 0

    system = System(folder, await eventually(first, bool, within_s=START_S))

    async def answers() -> bool:
        return "tests.target" in await system.systemctl("list-units", "--all", "--plain")

    await eventually(answers, bool, within_s=START_S)
    return system


async def _removed(control_group: Path) -> None:
    """Remove a control group and those in it, once their processes have gone."""

    async def gone() -> bool:
        for each in sorted(control_group.rglob("*/"), reverse=True):
            with suppress(OSError):
                each.rmdir()
        with suppress(OSError):
            control_group.rmdir()
        return not control_group.exists()

    await eventually(gone, bool, within_s=START_S)
