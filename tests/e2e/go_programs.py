"""Programs built from the committed Go module files of tools/. They stay in a cache outside the checkout, each module's in a folder named
after all that goes into it, so that a second build only looks and whoever needs the same program shares it.
"""

import fcntl
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

TOOLS = Path(__file__).parent / "tools"


class CannotPrepare(Exception):
    """This machine cannot make the programs. The text is one line that says what is missing."""


def build(module: str, packages: Sequence[str], *, ldflags: str = "-s -w") -> Path:
    """Return the folder with the programs of `packages`, import paths that `module`, a folder of tools/, requires. Raises CannotPrepare."""
    names = [package.rpartition("/")[2] for package in packages]
    if not shutil.which("go"):
        raise CannotPrepare(f"go is not in PATH: {' and '.join(names)} are built from source with Go 1.26 or newer, https://go.dev/dl")
    # Go finds its caches by HOME and does not ask the user database where that is unset.
    home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    env = {**os.environ, "HOME": home, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"}
    command = ("go", "build", "-trimpath", "-ldflags", ldflags)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(home, ".cache"), "npu-agent", "e2e")
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{module.replace('/', '-')}-{_key(module, command, env)}"
    with Path(f"{folder}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [package for package, name in zip(packages, names, strict=True) if not (folder / name).exists()]
        if missing:
            _build_missing(module, missing, folder, command, env)
    return folder


def _build_missing(module: str, packages: Sequence[str], folder: Path, command: Sequence[str], env: Mapping[str, str]) -> None:
    names = [package.rpartition("/")[2] for package in packages]
    _say(f"building {', '.join(names)} into {folder} (some minutes, once)")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as fresh:
        argv = ("nice", *command, "-o", f"{fresh}/bin/", *packages)
        done = subprocess.run(argv, cwd=TOOLS / module, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise CannotPrepare(f"`{' '.join(argv)}` failed with status {done.returncode}: {last}")
        folder.mkdir(exist_ok=True)
        for name in names:
            Path(fresh, "bin", name).rename(folder / name)
    _say(f"{', '.join(names)} took {time.monotonic() - began:.0f} s")


def _key(module: str, command: Sequence[str], env: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    digest.update(subprocess.run(("go", "version"), cwd=TOOLS / module, env=env, capture_output=True, check=True).stdout)
    digest.update(repr(command).encode())
    for name in ("go.mod", "go.sum"):
        digest.update((TOOLS / module / name).read_bytes())
    return digest.hexdigest()[:16]


def _say(text: str) -> None:
    sys.stderr.write(f"e2e: {text}\n")
