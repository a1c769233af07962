"""Holds the namespaces of one node and cleans up after it, whatever becomes of the tests.

It is a process of its own: `python keeper.py RUN NAME [network]`. It makes the folder RUN and the cgroups NAME, starts a private mount
and PID namespace (and one for the network), prints the process id of the namespace's first process, and waits until its standard input
ends. That happens when the tests are done with the node and also when they are killed. Then it ends the first process, with which the
kernel ends every process and mount of the namespaces, and removes the cgroups and the folder.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

PREFIX = "npu-e2e-"
"""How the names of machines begin, by which what they make on the host is known."""

CGROUPS = Path("/sys/fs/cgroup")
_KUBELET_DIR = Path("/var/lib/kubelet")

# What the node may write and the machine is to keep: kubelet's and containerd's fixed places, devices, and the kernel settings that
# kubelet insists on, which it finds as it wants them. The first process ignores SIGCHLD, so that the kernel reaps orphans for it.
_INSIDE = """
set -eu
cd "$1"
mkdir -p dev
mount -t tmpfs -o mode=755 dev dev
cp -ax /dev/. dev
for folder in pts shm mqueue; do
    if mountpoint -q "/dev/$folder"; then mkdir -p "dev/$folder"; mount --bind "/dev/$folder" "dev/$folder"; fi
done
mount --rbind dev /dev
mount --bind kubelet /var/lib/kubelet
mount --make-rshared /var/lib/kubelet
mount -t tmpfs run /run
mount -t tmpfs log /var/log
while read -r setting value; do
    echo "$value" > "settings/$(basename "$setting")"
    mount --bind "settings/$(basename "$setting")" "/proc/sys/$setting"
done <<SETTINGS
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
SETTINGS
if [ "$2" = network ]; then ip link set lo up; fi
trap '' CHLD
echo ready
exec sleep infinity
"""


def main() -> None:
    run, name, network = Path(sys.argv[1]), sys.argv[2], "network" in sys.argv[3:]
    namespaces: subprocess.Popen[str] | None = None
    try:
        for folder in ("kubelet", "settings"):
            (run / folder).mkdir(parents=True)
        make_mountpoint(name)
        make_cgroups(name)
        private = ("--mount", "--propagation=private", "--pid", "--fork", "--kill-child", "--mount-proc", *(("--net",) if network else ()))
        namespaces = subprocess.Popen(
            ("unshare", *private, "sh", "-c", _INSIDE, "sh", str(run), "network" if network else ""),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert namespaces.stdout
        if namespaces.stdout.readline() != "ready\n":
            sys.exit("the namespace of the node could not be set up")
        first_process = _child(namespaces.pid)
        sys.stdout.write(f"{first_process}\n")
        sys.stdout.flush()
        sys.stdin.read()
        # unshare waits for its child, and a first process has ended only when all else in its namespace has.
        os.kill(first_process, signal.SIGKILL)
        namespaces.wait()
    finally:
        if namespaces and namespaces.poll() is None:
            namespaces.kill()
            namespaces.wait()
        remove_cgroups(name)
        remove_mountpoint(name)
        shutil.rmtree(run)


def make_mountpoint(name: str) -> None:
    """Make kubelet's folder on a host that has none. Folders in it keep it until the last of several machines has gone."""
    others = list(_KUBELET_DIR.iterdir()) if _KUBELET_DIR.exists() else []
    if not _KUBELET_DIR.exists() or (others and all(other.name.startswith(PREFIX) for other in others)):
        (_KUBELET_DIR / name).mkdir(parents=True)


def remove_mountpoint(name: str) -> None:
    """Undo `make_mountpoint`."""
    if (_KUBELET_DIR / name).exists():
        (_KUBELET_DIR / name).rmdir()
        with contextlib.suppress(OSError):  # another machine is using it
            _KUBELET_DIR.rmdir()


def make_cgroups(name: str) -> None:
    """Make the cgroup `name` in every hierarchy, as kubelet expects of its cgroup root."""
    if (CGROUPS / "cgroup.controllers").exists():
        controllers = (CGROUPS / "cgroup.controllers").read_text().split()
        (CGROUPS / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in controllers))
    for hierarchy in hierarchies():
        (hierarchy / name).mkdir()
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # In version 1 these begin empty, and a cgroup without processors takes no process.
            if (hierarchy / setting).exists():
                (hierarchy / name / setting).write_text((hierarchy / setting).read_text())


def remove_cgroups(name: str) -> None:
    """Remove the cgroup `name` and all below it. Its processes have been killed; the kernel may still be at the last of them."""
    deadline = time.monotonic() + 10
    for hierarchy in hierarchies():
        while (hierarchy / name).exists():
            for folder, _, _ in os.walk(hierarchy / name, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
            if time.monotonic() > deadline:
                sys.exit(f"{hierarchy / name} cannot be removed: a process is left in it")


def hierarchies() -> list[Path]:
    """Return the roots of the hierarchies: one in version 2, else one for each controller and, where it is mounted beside them, one of
    version 2 without any."""
    if (CGROUPS / "cgroup.procs").exists():
        return [CGROUPS]
    # Controllers that share a hierarchy have links to it.
    return sorted({processes.parent.resolve() for processes in CGROUPS.glob("*/cgroup.procs")})


def _child(process_id: int) -> int:
    return int(Path(f"/proc/{process_id}/task/{process_id}/children").read_text())


if __name__ == "__main__":
    main()
