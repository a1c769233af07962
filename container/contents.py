"""What goes into the programs that PyInstaller makes: what nothing imports by a statement, what is left out, and the list of it all.

It is imported by npu-agent.spec, with PyInstaller's Python.
"""

import json
import os
import platform
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions, entry_points
from pathlib import Path

from PyInstaller.utils.hooks import collect_data_files, collect_submodules, copy_metadata

GROUP = "npu_agent.backends"

NEVER = ("rich", "pygments", "markdown_it", "mdurl", "setuptools", "pkg_resources", "_distutils_hack")
"""What dependencies would use if it were there. All of them do without: typer as it does in the agent (docs/decisions/0006-typer.md)."""

UNUSED = (
    *("distutils", "ensurepip", "idlelib", "lib2to3", "pydoc", "pydoc_data", "tkinter", "turtledemo", "unittest", "venv"),
    *("multiprocessing", "concurrent.futures.process", "ftplib", "webbrowser", "xmlrpc", "_pydecimal", "sqlite3", "curses", "readline"),
    *("bz2", "_bz2", "lzma", "_lzma"),
)
"""Parts of the standard library that are imported by functions which the agent never calls. multiprocessing alone costs each start 20 ms,
since PyInstaller prepares it before the program begins."""

Data = list[tuple[str, str]]


def left_out() -> list[str]:
    """Return what is not taken along. Backends of third parties may need any of the standard library."""
    return [*NEVER, *(() if with_other_backends() else UNUSED)]


def hidden_imports() -> list[str]:
    """Return the modules that are imported by name: commands, backends, and the backends of third parties that are installed."""
    packages = ["npu_agent", *other_backends()]
    return [module for package in packages for module in collect_submodules(package)]


def data() -> Data:
    """Return the files that are no modules: families, and of backends of third parties also the metadata that have their entry points."""
    of_others = [copy_metadata(name) for names in other_backends().values() for name in names]
    packages = [collect_data_files(package, excludes=["**/py.typed"]) for package in ("npu_agent", *other_backends())]
    return [entry for entries in (*packages, *of_others) for entry in entries]


def with_other_backends() -> bool:
    """Return whether the build was asked to take along backends of third parties."""
    return bool(os.environ.get("NPU_AGENT_OTHER_BACKENDS"))


def other_backends() -> dict[str, set[str]]:
    """Return the top packages of the backends of third parties that are installed, each with the distributions that offer it."""
    if not with_other_backends():
        return {}
    found: dict[str, set[str]] = {}
    for point in entry_points(group=GROUP):
        if point.dist is not None:
            found.setdefault(point.module.partition(".")[0], set()).add(point.dist.name)
    return found


def write_inventory(path: Path, files: Iterable[str]) -> None:
    """Write which distributions, and which shared libraries of the machine, the files that were taken along are of.

    `distributions` are those that were installed, each with its version and the SHA-256 of the file that it came in; `libraries` are paths
    on the machine that built it, those of distributions and of Python's own modules left out.
    """
    fetched = _fetched(Path(os.environ["NPU_AGENT_INSTALLED"]))
    taken = {os.path.realpath(file) for file in files if file}
    found = {"pyinstaller": fetched["pyinstaller"]}  # its loader starts the program
    for distribution in distributions():
        if taken & _files(distribution):
            name = normalized(distribution.name)
            found[name] = fetched.get(name, {"version": distribution.version})
    prefix = os.path.realpath(sys.prefix)
    libraries = sorted(file for file in taken if ".so" in Path(file).name and not file.startswith(prefix) and "/lib-dynload/" not in file)
    inventory = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "distributions": dict(sorted(found.items())),
        "libraries": libraries,
    }
    path.write_text(json.dumps(inventory, indent=2) + "\n", encoding="utf-8")


def _files(distribution: Distribution) -> set[str]:
    return {os.path.realpath(str(distribution.locate_file(file))) for file in distribution.files or ()}


def _fetched(report: Path) -> dict[str, dict[str, str]]:
    installed = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {
        normalized(each["metadata"]["name"]): {
            "version": each["metadata"]["version"],
            "sha256": each["download_info"]["archive_info"]["hash"].removeprefix("sha256="),
        }
        for each in installed
    }


def normalized(name: str) -> str:
    """Return the name of a distribution as lock files and package URLs spell it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()
