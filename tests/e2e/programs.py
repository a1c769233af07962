"""The programs of a node: kubelet and containerd built from the module files of tools/, runc and busybox from Debian.

`python -m tests.e2e.programs` gets them. What it builds stays in a cache outside the checkout, named after all that goes into it, so
that a second run only looks.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

KUBELET_VERSION = "1.36.3"

_TOOLS = Path(__file__).parent / "tools"
_MODULES = {"kubernetes": ("kubelet",), "containerd": ("containerd", "containerd-shim-runc-v2", "ctr")}
# Without the version kubelet calls itself v0.0.0-master and refuses its own feature gates.
_BUILD = ("go", "build", "-trimpath", "-ldflags", f"-s -w -X k8s.io/component-base/version.gitVersion=v{KUBELET_VERSION}")
_PACKAGES = ("runc", "busybox-static")


class CannotPrepare(Exception):
    """This machine cannot run a node. The text is one line that says what is missing."""


def prepare() -> Path:
    """Return the folder of the Go programs after getting all that is missing. Raises CannotPrepare."""
    if os.geteuid() != 0:
        raise CannotPrepare("the tests on a real kubelet mount, make cgroups and start containers: run make e2e as root")
    for program in ("unshare", "nsenter", "setpriv", "mount"):
        if not shutil.which(program):
            raise CannotPrepare(f"{program} is not in PATH: install util-linux")
    _install_packages()
    return _build()


def _install_packages() -> None:
    missing = [package for package in _PACKAGES if not _is_installed(package)]
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


def _build() -> Path:
    if not shutil.which("go"):
        raise CannotPrepare("go is not in PATH: kubelet and containerd are built from source with Go 1.26 or newer, https://go.dev/dl")
    # Go finds its caches by HOME and does not ask the user database where that is unset.
    home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    env = {**os.environ, "HOME": home, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(home, ".cache"), "npu-agent", "e2e")
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / _key(env)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _say(f"building kubelet {KUBELET_VERSION} and containerd into {folder} (some minutes, once)")
            with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as fresh:
                for module in _MODULES:
                    _run("nice", *_BUILD, "-o", f"{fresh}/bin/", "tool", cwd=_TOOLS / module, env=env)
                Path(fresh, "bin").rename(folder)
    return folder


def _key(env: dict[str, str]) -> str:
    digest = hashlib.sha256()
    digest.update(subprocess.run(("go", "version"), cwd=_TOOLS / "kubernetes", env=env, capture_output=True, check=True).stdout)
    digest.update(repr(_BUILD).encode())
    for module in _MODULES:
        for name in ("go.mod", "go.sum"):
            digest.update((_TOOLS / module / name).read_bytes())
    return digest.hexdigest()[:16]


def _run(*argv: str, env: dict[str, str], cwd: Path | None = None) -> None:
    done = subprocess.run(argv, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise CannotPrepare(f"`{' '.join(argv)}` failed with status {done.returncode}: {last}")


def _say(text: str) -> None:
    sys.stderr.write(f"e2e: {text}\n")


def main() -> None:
    try:
        prepare()
    except CannotPrepare as problem:
        sys.exit(f"e2e: {problem}")


if __name__ == "__main__":
    main()
