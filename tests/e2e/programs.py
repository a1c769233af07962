"""The programs of a node and of a cluster: built from the module files of tools/, the rest from Debian.

`python -m tests.e2e.programs` gets those of a node, with `--cluster` those of a cluster, of the release that KUBERNETES names. What it
builds stays in a cache outside the checkout, each program in a folder named after all that goes into it, so that a second run only looks
and whoever needs the same program shares it.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.e2e.go_programs import TOOLS, CannotPrepare, build
from tests.e2e.helm import helm

KUBELET_VERSION = "1.36.3"
"""The release of Kubernetes where nobody asks for another one."""

CLUSTER_PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")

_CONTAINERD = ("containerd", "containerd-shim-runc-v2", "ctr")
_DEBIAN = ("runc", "busybox-static")
_DEBIAN_CLUSTER = (*_DEBIAN, "containernetworking-plugins", "iptables", "conntrack", "iproute2", "openssl")


def known_versions() -> list[str]:
    """Return the releases of Kubernetes that there are module files for."""
    return sorted(folder.name for folder in (TOOLS / "kubernetes").iterdir())


def prepare(version: str = KUBELET_VERSION, *, cluster: bool = False) -> Path:
    """Return a folder with the programs of a node, or of a whole cluster, after getting all that is missing. Raises CannotPrepare."""
    if os.geteuid() != 0:
        raise CannotPrepare("the tests on a real kubelet mount, make cgroups and start containers: run make e2e as root")
    if version not in known_versions():
        raise CannotPrepare(
            f"there are no module files for Kubernetes {version}, only for {' '.join(known_versions())}:"
            f" python -m tests.kubelets.modules --programs {version} makes them"
        )
    for program in ("unshare", "nsenter", "setpriv", "mount"):
        if not shutil.which(program):
            raise CannotPrepare(f"{program} is not in PATH: install util-linux")
    _install_packages(_DEBIAN_CLUSTER if cluster else _DEBIAN)
    # Without the version kubelet calls itself v0.0.0-master and refuses its own feature gates.
    flags = f"-s -w -X k8s.io/component-base/version.gitVersion=v{version}"
    wanted = [f"k8s.io/kubernetes/cmd/{program}" for program in (CLUSTER_PROGRAMS if cluster else ("kubelet",))]
    kubernetes = build(f"kubernetes/{version}", wanted, ldflags=flags)
    containerd = build("containerd", [f"github.com/containerd/containerd/v2/cmd/{program}" for program in _CONTAINERD])
    programs = [*(kubernetes / package.rpartition("/")[2] for package in wanted), *(containerd / program for program in _CONTAINERD)]
    if cluster:
        programs += [helm(), _etcd(kubernetes.parent)]
    return _together(version, programs)


def _install_packages(packages: Sequence[str]) -> None:
    missing = [package for package in packages if not _is_installed(package)]
    if not missing:
        return
    if not shutil.which("apt-get"):
        raise CannotPrepare(f"there is no apt-get to install {' and '.join(missing)} with: run make e2e on Debian 12")
    _say(f"installing {' and '.join(missing)}")
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    _run("apt-get", "update", "-qq", env=quietly)
    _run("apt-get", "install", "-qq", "--yes", "--no-install-recommends", *missing, env=quietly)


def _is_installed(package: str) -> bool:
    query = ("dpkg-query", "--show", "--showformat=${db:Status-Status}", package)
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
    except FileNotFoundError:
        return False


def _etcd(cache: Path) -> Path:
    """Return Debian's etcd, unpacked and not installed: its package would start a server on this machine."""
    program = cache / "etcd-debian" / "etcd"
    if not program.exists():
        _say("getting etcd")
        with tempfile.TemporaryDirectory(dir=cache, prefix="getting-") as fresh:
            try:
                _run("apt-get", "download", "-qq", "etcd-server", env=dict(os.environ), cwd=Path(fresh))
            except CannotPrepare:
                _run("apt-get", "update", "-qq", env=dict(os.environ))
                _run("apt-get", "download", "-qq", "etcd-server", env=dict(os.environ), cwd=Path(fresh))
            (package,) = Path(fresh).glob("etcd-server_*.deb")
            _run("dpkg-deb", "--extract", str(package), f"{fresh}/files", env=dict(os.environ))
            program.parent.mkdir(exist_ok=True)
            Path(fresh, "files", "usr", "bin", "etcd").rename(program)
    return program


def _together(version: str, programs: Sequence[Path]) -> Path:
    """Return a folder that has links to just these programs, so that whoever starts them needs to know one place."""
    cache = programs[0].parents[1]
    folder = cache / f"programs-{version}-{hashlib.sha256(repr(programs).encode()).hexdigest()[:16]}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache, prefix="linking-") as fresh:
            links = Path(fresh, "bin")
            links.mkdir()
            for program in programs:
                (links / program.name).symlink_to(program)
            with contextlib.suppress(OSError):  # somebody else has made it since
                links.rename(folder)
    return folder


def _run(*argv: str, env: dict[str, str], cwd: Path | None = None) -> None:
    done = subprocess.run(argv, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CannotPrepare(f"`{' '.join(argv)}` failed with status {done.returncode}: {last}")


def _say(text: str) -> None:
    sys.stderr.write(f"e2e: {text}\n")


def main() -> None:
    try:
        if "--cluster" in sys.argv[1:]:
            prepare(os.environ.get("KUBERNETES") or KUBELET_VERSION, cluster=True)
        else:
            prepare()
    except CannotPrepare as problem:
        sys.exit(f"e2e: {problem}")


if __name__ == "__main__":
    main()
