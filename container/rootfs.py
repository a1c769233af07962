"""Lays out the root of the image: the program at /opt/npu-agent, and what it needs of the machine that built it, at the same places."""

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from container import binary

HOME = Path("opt/npu-agent")

UNWINDER = "libgcc_s.so.1"
"""The C library loads it when a thread ends by pthread_exit, as Python's do that outlive the program, and aborts without it."""


def lay_out(built: Path, root: Path) -> None:
    """Copy the folder form in `built`, and the loader and libraries that it takes from the machine, below `root`.

    Which libraries of which packages these are is added to the inventory in `built`.
    """
    folder = built / binary.FOLDER
    shutil.copytree(folder, root / HOME)
    libraries = machine_libraries(folder)
    for library in libraries:
        target = root / library.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(library, target)  # what a link leads to, under the name by which it is looked for
    inventory = json.loads((built / binary.INVENTORY).read_text(encoding="utf-8"))
    files = [*map(str, libraries), *inventory["libraries"]]
    inventory["libraries"] = {file: package_of(Path(file)) for file in sorted(files)}
    (built / binary.INVENTORY).write_text(json.dumps(inventory, indent=2) + "\n", encoding="utf-8")


def machine_libraries(folder: Path) -> list[Path]:
    """Return the loader and the libraries outside `folder` that the programs and libraries in it are linked with, and the unwinder."""
    found: set[Path] = set()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.open("rb").read(4) == b"\x7fELF":
            # The program finds what is beside it only once it runs; the libraries there are found by then.
            beside = None if path.parent == folder else folder / "_internal"
            found |= {library for library in linked_with(path, beside=beside) if not library.is_relative_to(folder)}
    (c_library,) = (library for library in found if library.name.startswith("libc.so"))
    return sorted({*found, c_library.with_name(UNWINDER)})


def linked_with(path: Path, *, beside: Path | None) -> set[Path]:
    """Return the files that the loader maps for a program or library, by the names under which it looks for them: in `beside` first."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    if beside:
        environment["LD_LIBRARY_PATH"] = str(beside)
    said = subprocess.run(("ldd", str(path)), env=environment, capture_output=True, text=True, check=False).stdout
    words = [line.split(" => ")[-1].split() for line in said.splitlines()]
    return {Path(first) for first, *_ in words if first.startswith("/")}


def package_of(path: Path) -> dict[str, str]:
    """Return what is known of the package of Debian or the like that a file of this machine is of, or nothing if it is of none."""
    if not shutil.which("dpkg-query"):
        return {}
    # Debian keeps libraries in /usr/lib and packages name some of them by /lib, which leads there.
    for name in (str(path), str(path.resolve()), str(path.resolve()).removeprefix("/usr")):
        asked = subprocess.run(("dpkg-query", "--search", name), capture_output=True, text=True, check=False)
        if asked.returncode == 0:
            package = asked.stdout.partition(": ")[0].split(",")[0]
            show = ("dpkg-query", "--show", "--showformat=${Package} ${Version} ${Architecture}", package)
            words = subprocess.run(show, capture_output=True, text=True, check=True).stdout.split()
            return {"distribution": _distribution(), **dict(zip(("package", "version", "architecture"), words, strict=True))}
    return {}


def _distribution() -> str:
    return platform.freedesktop_os_release()["ID"]


if __name__ == "__main__":
    lay_out(Path(sys.argv[1]), Path(sys.argv[2]))
