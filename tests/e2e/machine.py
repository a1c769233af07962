"""One machine of the tests: private namespaces with containerd and the image that sandboxes run."""

import asyncio
from pathlib import Path

from tests.e2e import image
from tests.e2e.namespaces import Namespaces, Program
from tests.scenarios.eventually import eventually

_CNI_PLUGINS = Path("/usr/lib/cni")
"""Where Debian's containernetworking-plugins are; a machine without a network of its own needs none."""


class Machine(Namespaces):
    """Namespaces that hold containerd and kubelet. `programs` is the folder of kubelet, containerd and ctr.

    Pods get a network as `cni` says, a list of plugins in a file of that folder; without any they need the machine's.
    """

    def __init__(self, programs: Path, logs: Path, *, network: bool = False) -> None:
        super().__init__(programs, logs, network=network)
        self.containerd_socket = self.run / "containerd.sock"
        self.cni = self.run / "containerd" / "cni"
        self.containerd: Program | None = None

    async def ctr(self, *argv: str) -> tuple[int, str]:
        """Run `ctr` on kubelet's containers; return its exit status and what it printed."""
        quiet = ("env", "CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1")
        line = (*quiet, str(self.programs / "ctr"), "--address", str(self.containerd_socket), "--namespace", "k8s.io", *argv)
        return await self.call(*line)

    async def import_image(self, archive: Path) -> None:
        """Give containerd the images of an archive in the form that `docker save` writes, or an OCI layout."""
        status, output = await self.ctr("images", "import", str(archive))
        assert status == 0, output

    async def start_containerd(self) -> None:
        configuration = self.run / "containerd.toml"
        configuration.write_text(
            _CONTAINERD.format(
                run=self.run, socket=self.containerd_socket, image=image.REFERENCE, folder=self.run / "containerd", plugins=_CNI_PLUGINS
            )
        )
        self.containerd = await self.start("containerd", "--config", configuration)
        await eventually(lambda: answers(self.containerd_socket), bool, within_s=30)

    async def _start(self) -> None:
        await self.start_containerd()
        archive = self.run / "image.tar"
        image.write_image(archive)
        await self.import_image(archive)


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
    bin_dirs = ["{plugins}"]
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
[plugins.'io.containerd.grpc.v1.cri']
  stream_server_address = "127.0.0.1"
"""
