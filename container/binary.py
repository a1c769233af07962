"""Builds the agent as programs that need no Python: dist/npu-agent, one file, and dist/npu-agent.folder/, which starts sooner.

It needs a Python with a shared libpython, pip and binutils, and takes what it builds with from requirements/binary.txt into an environment
of its own, where nothing is that the agent must not have: PyInstaller takes along what it can import. The same sources and the same
Python give the same bytes, in whatever folder and whenever.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements" / "binary.txt"
ONE_FILE = "npu-agent"
FOLDER = "npu-agent.folder"
INVENTORY = "npu-agent.inventory.json"
"""What the programs are made of, for whoever lists it (container/sbom.py)."""

INSTALLED = "installed.json"
"""pip's report of what it installed into the environment, with the digest of each file that it fetched."""

_PROGRAMS = {"objcopy": "binutils", "strip": "binutils", "objdump": "binutils", "ldd": "libc-bin"}


class CannotBuild(Exception):
    """This machine cannot build it. The text is one line that says what is missing or what failed."""


def build(target: Path, work: Path, *, backends: Path | None = None) -> bool:
    """Build both forms into `target`, unless they are there and nothing has changed; return whether they were built.

    `work` keeps the environment. `backends` is a requirements file of backends of third parties, with all that they need beside what the
    agent has, since nothing else is fetched. Raises CannotBuild.
    """
    for program, package in _PROGRAMS.items():
        if not shutil.which(program):
            raise CannotBuild(f"{program} is not in PATH: install {package}")
    if backends and not backends.is_file():
        raise CannotBuild(f"{backends} is not a file that names backends")
    inputs = _inputs(backends)
    built_of = target / ".npu-agent.inputs"
    products = [target / name for name in (ONE_FILE, FOLDER, INVENTORY)]
    if all(product.exists() for product in products) and built_of.exists() and built_of.read_text() == inputs:
        return False
    python = _environment(work, backends)
    fresh = work / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    os.umask(0o022)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        "PYTHONHASHSEED": "1",  # the order of a set is in the byte code
        "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH") or commit_time(),
        "PYINSTALLER_CONFIG_DIR": str(work / "pyinstaller"),  # it keeps stripped libraries, by a name that says nothing of their content
        "NPU_AGENT_INVENTORY": str(fresh / INVENTORY),
        "NPU_AGENT_INSTALLED": str(work / INSTALLED),
        "NPU_AGENT_OTHER_BACKENDS": "1" if backends else "",
    }
    folders = ("--distpath", str(fresh), "--workpath", str(work / "pyinstaller"))
    shutil.rmtree(work / "pyinstaller", ignore_errors=True)
    run(str(python), "-m", "PyInstaller", "--log-level=WARN", *folders, str(ROOT / "container" / "npu-agent.spec"), env=environment)
    target.mkdir(parents=True, exist_ok=True)
    built_of.unlink(missing_ok=True)
    for product in products:
        _remove(product)
        shutil.move(fresh / product.name, product)
    built_of.write_text(inputs)
    return True


def commit_time() -> str:
    """Return the time of the commit that is checked out, in seconds since 1970; without git the first day that a zip file can say."""
    try:
        asked = subprocess.run(("git", "log", "-1", "--format=%ct"), cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "315532800"
    return asked.stdout.strip() or "315532800"


def sources(backends: Path | None = None) -> Iterator[Path]:
    """Yield the files of which the programs are made, with `backends` where it names some."""
    yield REQUIREMENTS
    if backends:
        yield backends
    for folder in ("npu_agent", "container"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.is_file() and path.suffix in {".py", ".yaml", ".spec"} and not {"__pycache__", "chart", "manifests"} & {*path.parts}:
                yield path


def _inputs(backends: Path | None) -> str:
    return digest_of(*sources(backends), said=f"{sys.version} {sys.base_prefix}")


def digest_of(*files: Path, said: str) -> str:
    """Return a digest that changes with the name or content of any of the files, and with what is said beside them."""
    digest = hashlib.sha256(said.encode())
    for path in files:
        digest.update(f"{path}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _environment(work: Path, backends: Path | None) -> Path:
    """Return the Python of an environment that has what is locked, and `backends`."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode() + (backends.read_bytes() if backends else b"")).hexdigest()
    folder, made_of = work / "venv", work / "venv.inputs"
    python = folder / "bin" / "python"
    if made_of.exists() and made_of.read_text() == wanted and python.exists() and (work / INSTALLED).exists():
        return python
    made_of.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    venv.create(folder, with_pip=True)
    pip = (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile")
    run(*pip, "--require-hashes", "--only-binary", ":all:", "--report", str(work / INSTALLED), "-r", str(REQUIREMENTS))
    if backends:
        run(*pip, "--no-deps", "-r", str(backends.resolve()))
    made_of.write_text(wanted)
    return python


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def run(*argv: str, env: Mapping[str, str] = os.environ, folder: Path = ROOT) -> None:
    """Run a program to its end. Raises CannotBuild if it fails, after what it said has been shown."""
    done = subprocess.run(argv, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        sys.stderr.write(done.stdout)
        raise CannotBuild(f"`{' '.join(argv)}` failed with status {done.returncode}")


def main() -> None:
    """Build what the command line says and tell where it is."""
    parser = argparse.ArgumentParser(description="Build the agent as one file and as a folder.")
    parser.add_argument("--target", type=Path, default=ROOT / "dist")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "binary")
    parser.add_argument("--backends", type=Path, help="a requirements file of backends of third parties to take along")
    options = parser.parse_args()
    try:
        built = build(options.target.resolve(), options.work.resolve(), backends=options.backends)
    except CannotBuild as problem:
        sys.exit(f"binary: {problem}")
    one_file = options.target / ONE_FILE
    size = one_file.stat().st_size / 1e6
    print(f"{one_file} ({size:.1f} MB) and {one_file}.folder/ {'are built' if built else 'are up to date'}")


if __name__ == "__main__":
    main()
