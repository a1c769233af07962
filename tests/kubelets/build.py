"""Kubelet's own device manager as a program, built for each version from the Go source in driver/ and the module files in versions/.

`python -m tests.kubelets.build [VERSION …]` builds and prints the programs. What is built stays in a cache outside the checkout, named
after all that goes into it, so that a second run only looks.
"""

import fcntl
import functools
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

from tests.scenarios.versions import as_numbers

DRIVER = Path(__file__).parent / "driver"
VERSIONS = Path(__file__).parent / "versions"
_BUILD = ("go", "build", "-trimpath", "-ldflags", "-s -w")


class CannotPrepare(Exception):
    """This machine cannot run kubelet's device manager. The text is one line that says what is missing."""


def known_versions() -> list[str]:
    """Return the versions that there are module files for, oldest first."""
    return sorted((folder.name for folder in VERSIONS.iterdir()), key=as_numbers)


def wanted_versions(text: str) -> list[str]:
    """Return the versions named in `text`, all if it is empty. Raises CannotPrepare."""
    known = known_versions()
    unknown = [version for version in text.split() if version not in known]
    if unknown:
        raise CannotPrepare(f"there is no kubelet {' '.join(unknown)} in {VERSIONS}: it has {' '.join(known)}")
    return sorted(set(text.split()), key=as_numbers) or known


@functools.cache
def prepare(version: str) -> Path:
    """Return the program with the device manager of kubelet `version`, built if it is not in the cache. Raises CannotPrepare."""
    if os.geteuid() != 0:
        raise CannotPrepare("kubelet's folder is mounted in a private namespace: run make kubelets and make soak as root")
    for needed in ("go", "unshare", "setpriv", "mount", "nice"):
        if not shutil.which(needed):
            raise CannotPrepare(f"{needed} is not in PATH: install Go 1.26 or newer from https://go.dev/dl, and util-linux")
    # Go finds its caches by HOME and does not ask the user database where that is unset.
    home = os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir
    env = {**os.environ, "HOME": home, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOWORK": "off"}
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path(home, ".cache"), "npu-agent", "kubelets")
    cache.mkdir(parents=True, exist_ok=True)
    program = cache / f"{version}-{_key(version, env)}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            _build(version, program, env)
    return program


def _build(version: str, program: Path, env: Mapping[str, str]) -> None:
    _say(f"building the device manager of kubelet {version} (some minutes, once)")
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=program.parent, prefix="building-") as folder:
        module = Path(folder, "module")
        module.mkdir()
        for source in _sources(version):
            shutil.copy(source, module)
        _run("nice", "-n", "19", *_BUILD, "-o", f"{folder}/program", ".", cwd=module, env=env)
        Path(folder, "program").rename(program)
    _say(f"kubelet {version} took {time.monotonic() - began:.0f} s")


def _sources(version: str) -> Sequence[Path]:
    return [*sorted(DRIVER.glob("*.go")), VERSIONS / version / "go.mod", VERSIONS / version / "go.sum"]


def _key(version: str, env: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    digest.update(subprocess.run(("go", "version"), cwd=DRIVER, env=env, capture_output=True, check=True).stdout)
    digest.update(repr(_BUILD).encode())
    for source in _sources(version):
        digest.update(source.read_bytes())
    return digest.hexdigest()[:16]


def _run(*argv: str, env: Mapping[str, str], cwd: Path) -> None:
    done = subprocess.run(argv, cwd=cwd, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join(done.stderr.strip().splitlines()[-20:]) or "it said nothing"
        raise CannotPrepare(f"`{' '.join(argv)}` failed with status {done.returncode}:\n{said}")


def _say(text: str) -> None:
    sys.stderr.write(f"kubelets: {text}\n")


def main() -> None:
    try:
        for version in wanted_versions(" ".join(sys.argv[1:])):
            sys.stdout.write(f"{prepare(version)}\n")
    except CannotPrepare as problem:
        sys.exit(f"kubelets: {problem}")


if __name__ == "__main__":
    main()
