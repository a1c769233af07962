"""Builds images with buildah, in a storage of its own in a cache outside the checkout. It needs root."""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from container import binary

PROGRAMS = ("buildah", "mmdebstrap")
"""What builds it, by the names of Debian's packages and of the programs in them."""

Buildah = Callable[..., str]
"""Runs buildah with arguments and returns what it printed. Raises binary.CannotBuild."""


def cache() -> Path:
    """Return the folder of what is kept between two builds."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "npu-agent" / "image"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def opened() -> Iterator[Buildah]:
    """Yield what runs buildah, for one process at a time. Raises binary.CannotBuild."""
    prepare(*PROGRAMS)
    store = ("--root", str(cache() / "storage"), "--runroot", str(cache() / "run"), "--storage-driver", "vfs")
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lambda *argv: _output("buildah", *store, *argv)


def _fetching() -> tuple[str, ...]:
    passed_on = {name: os.environ[name] for name in ("PIP_INDEX_URL", "PIP_CERT") if name in os.environ}
    certificates = passed_on.get("PIP_CERT")
    mounts = ("--volume", f"{certificates}:{certificates}:ro") if certificates else ()
    return ("--isolation", "chroot", *mounts, *(word for pair in passed_on.items() for word in ("--build-arg", "=".join(pair))))


FETCHING = _fetching()
"""Options of `buildah bud` with which pip fetches packages inside as it does outside."""


def prepare(*programs: str) -> None:
    """Install what of the programs is missing, by Debian's packages of the same names. Raises CannotBuild where that cannot be done."""
    if os.geteuid() != 0:
        raise binary.CannotBuild(
            "the image is built as root: run make image as root, or build container/Containerfile with a builder of yours"
        )
    if missing := [program for program in programs if not shutil.which(program)]:
        install(*missing)


def install(*packages: str) -> None:
    """Install Debian's packages of these names. Raises CannotBuild where that cannot be done."""
    if not shutil.which("apt-get"):
        raise binary.CannotBuild(f"{' and '.join(packages)} are missing, and there is no apt-get to install them with: run it on Debian 12")
    print(f"image: installing {' and '.join(packages)}", flush=True)
    quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    binary.run("apt-get", "update", "-qq", env=quietly)
    binary.run("apt-get", "install", "-qq", "--yes", "--no-install-recommends", *packages, env=quietly)


def _output(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        raise binary.CannotBuild(f"`{' '.join(argv)}` failed with status {done.returncode}")
    return done.stdout
