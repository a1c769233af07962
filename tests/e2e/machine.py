"""One machine of the tests: private namespaces, a run folder, containerd with the image, and the logs of all of it."""

import asyncio
import os
import signal
import sys
import uuid
from pathlib import Path
from types import TracebackType

import anyio

from tests.e2e import image, keeper
from tests.scenarios.eventually import eventually

_CLEAN_UP_S = 30.0


class Machine:
    """Namespaces that hold containerd and kubelet. Nothing of it is left after `async with`, or after the death of this process.

    `run` is its folder, seen alike inside and outside; `name` names its cgroups. `programs` is the folder of kubelet, containerd and
    ctr; `logs` the folder that keeps what they say.
    """

    def __init__(self, programs: Path, logs: Path) -> None:
        self.programs = programs
        self.logs = logs
        # Short, because the paths of sockets are limited to 107 bytes, and not in /run, which the machine has for itself.
        self.run = Path("/tmp", f"{keeper.PREFIX}{uuid.uuid4().hex[:8]}")
        self.name = self.run.name
        self.containerd_socket = self.run / "containerd.sock"
        self._first_process = 0
        self._keeper: asyncio.subprocess.Process | None = None
        self._started: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> "Machine":
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / "keeper.log").open("wb") as log:
            self._keeper = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", keeper.__file__, self.run, self.name),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # an interrupt from the terminal is not for it
            )
        assert self._keeper.stdout
        try:
            line = await self._keeper.stdout.readline()
            if not line:
                raise AssertionError(f"no namespaces could be made: {(self.logs / 'keeper.log').read_text()}")
            self._first_process = int(line)
            await self._start_containerd()
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._clean_up()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with anyio.CancelScope(shield=True):
            await self._clean_up()

    def command(self, *argv: str) -> list[str]:
        """Return the command line that runs `argv` inside, in this folder, and ends it when its parent ends."""
        # It stays out of the PID namespace, so that a signal from here reaches it, and needs a /proc that knows it.
        target = ("nsenter", f"--target={self._first_process}", "--mount", "--", "unshare", "--mount-proc", "--")
        return [*target, "env", f"--chdir={Path.cwd()}", "setpriv", "--pdeathsig=KILL", "--", *argv]

    async def start(self, program: str, *argv: str | Path) -> "Program":
        """Start one of the Go programs inside, with its output in a log of its name."""
        target = ("nsenter", f"--target={self._first_process}", "--mount", "--pid", "--")
        search = f"{self.programs}:{os.environ['PATH']}:/usr/sbin:/sbin"
        with (self.logs / f"{program}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(*target, "env", f"PATH={search}", self.programs / program, *argv),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._started.append(process)
        return Program(process)

    async def ctr(self, *argv: str) -> tuple[int, str]:
        """Run `ctr` on kubelet's containers; return its exit status and what it printed."""
        quiet = ("env", "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1")
        line = (*quiet, str(self.programs / "ctr"), "--address", str(self.containerd_socket), "--namespace", "k8s.io", *argv)
        return await self.call(*line)

    async def call(self, *argv: str) -> tuple[int, str]:
        """Run a command in the mount namespace; return its exit status and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *self.command(*argv), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        with anyio.fail_after(60):
            output, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, output.decode(errors="replace")

    async def _start_containerd(self) -> None:
        configuration = self.run / "containerd.toml"
        configuration.write_text(
            _CONTAINERD.format(run=self.run, socket=self.containerd_socket, image=image.REFERENCE, folder=self.run / "containerd")
        )
        archive = self.run / "image.tar"
        image.write_image(archive)
        await self.start("containerd", "--config", configuration)
        await eventually(lambda: answers(self.containerd_socket), bool, within_s=30)
        status, output = await self.ctr("images", "import", str(archive))
        assert status == 0, output

    async def _clean_up(self) -> None:
        holder = self._keeper
        assert holder
        assert holder.stdin
        holder.stdin.close()
        with anyio.fail_after(_CLEAN_UP_S):
            status = await holder.wait()
            assert status == 0, (self.logs / "keeper.log").read_text()
            for process in self._started:
                await process.wait()
        (self.logs / "keeper.log").unlink()


class Program:
    """A program that runs inside, seen from outside."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def is_running(self) -> bool:
        return self._process.returncode is None

    @property
    def process_id(self) -> int:
        # nsenter stands outside the PID namespace and waits for its child, which is the program.
        return int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text())

    async def end(self, number: signal.Signals, *, within_s: float = 30.0) -> None:
        """Send it a signal and return when it has gone."""
        os.kill(self.process_id, number)
        with anyio.fail_after(within_s):
            await self._process.wait()


async def answers(socket: Path) -> bool:
    """Return whether somebody listens on a Unix socket."""
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except (FileNotFoundError, ConnectionRefusedError):
        return False
    writer.close()
    await writer.wait_closed()
    return True


_CONTAINERD = """
version = 3
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
[plugins.'io.containerd.internal.v1.opt']
  path = "{folder}/opt"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{image}"
[plugins.'io.containerd.cri.v1.runtime']
  # The score of a sandbox is below that of this process, which may not be allowed to lower its own.
  restrict_oom_score_adj = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    conf_dir = "{folder}/cni"
    bin_dirs = ["{folder}/cni"]
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
"""
