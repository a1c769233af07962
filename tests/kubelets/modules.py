"""Module files for a release of Kubernetes: `python -m tests.kubelets.modules 1.38.0` writes versions/1.38.0/go.mod and go.sum, for
kubelet's device manager; with `--programs` those of the programs of a cluster, in tests/e2e/tools/kubernetes/1.38.0.

kubernetes' own module file names its staging modules by folders of its repository. Here they are the published modules of the same
release, and everything else is as that file has it, so that the device manager is built from what its release was built from.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.e2e.go_programs import TOOLS
from tests.e2e.programs import CLUSTER_PROGRAMS
from tests.kubelets.build import DRIVER, VERSIONS
from tests.scenarios.versions import as_numbers

NEIGHBOURS = 20
"""How far from the patch wanted the patch of a staging module may be."""


class NoModuleFiles(Exception):
    """The files cannot be made; the text says why."""


_ABOUT_PROGRAMS = "// The programs of a Kubernetes release for tests/e2e and tests/cluster (made by tests/kubelets/modules.py).\n"
_PROGRAMS_GO = "1.24.0"
"""The oldest Go whose module files have tools."""


def write(version: str, *, programs: bool = False) -> Path:
    """Write the module files of kubelet's device manager `version`, such as "1.36.3", or those of the programs of that release.

    Returns their folder. Raises NoModuleFiles.
    """
    minor, patch = as_numbers(version)[1:]
    published = json.loads(_go("mod", "edit", "-json", _download(f"k8s.io/kubernetes@v{version}")["GoMod"]))
    wanted = [entry["Old"]["Path"] for entry in published["Replace"] or () if "Version" not in entry["New"]]
    staging = {module: found for module in wanted if (found := _nearest(module, minor, patch))}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "go.mod")
        file.write_text(_untidy(version, published, wanted, staging, programs=programs), encoding="utf-8")
        if not programs:
            for source in DRIVER.glob("*.go"):
                shutil.copy(source, folder)
        _go("mod", "tidy", folder=folder)
        sums = Path(folder, "go.sum").read_text(encoding="utf-8")
        into = TOOLS / "kubernetes" / version if programs else VERSIONS / version
        into.mkdir(exist_ok=True, parents=True)
        about = _ABOUT_PROGRAMS if programs else ""
        (into / "go.mod").write_text(
            about + _stand_ins(staging, f"v0.{minor}.{patch}", sums) + file.read_text(encoding="utf-8"), encoding="utf-8"
        )
        (into / "go.sum").write_text(sums, encoding="utf-8")
    return into


def _untidy(version: str, published: Any, wanted: Sequence[str], staging: Mapping[str, str], *, programs: bool) -> str:
    """Return a module file that requires all that kubernetes does, so that nothing newer comes in when it is made tidy."""
    required = {entry["Path"]: entry["Version"] for entry in published["Require"] if entry["Path"] not in wanted}
    required |= {**staging, "k8s.io/kubernetes": f"v{version}"}
    replaced = [(entry["Old"]["Path"], entry["New"]) for entry in published["Replace"] or ()]
    go = max(published["Go"], _PROGRAMS_GO, key=as_numbers) if programs else published["Go"]
    tools = [f"k8s.io/kubernetes/cmd/{program}" for program in CLUSTER_PROGRAMS] if programs else []
    return f"module npu-agent/{'e2e/kubernetes' if programs else 'kubelets'}\n\ngo {go}\n\n" + "".join(
        (
            _block("tool", tools),
            _block("require", [f"{module} {found}" for module, found in required.items()]),
            _block("replace", [f"{module} => {module} {found}" for module, found in staging.items()]),
            _block("replace", [f"{module} => {new['Path']} {new['Version']}" for module, new in replaced if "Version" in new]),
            # Samples and the like, of which nothing is imported; making the file tidy fails if something is.
            _block("exclude", [f"{module} v0.0.0" for module in wanted if module not in staging]),
        )
    )


def _stand_ins(staging: Mapping[str, str], wanted: str, sums: str) -> str:
    """Return a comment with the modules that are built in another patch; others have no sum of their content, only of their go.mod."""
    built = ((module, version) for module, version in sorted(staging.items()) if f"{module} {version} h1:" in sums)
    found = [f"{module} {version}" for module, version in built if version != wanted]
    return f"// Stand-ins for {wanted}, which could not be downloaded when this was made: {', '.join(found)}.\n" if found else ""


def _block(verb: str, lines: list[str]) -> str:
    return f"{verb} (\n" + "".join(f"\t{line}\n" for line in sorted(lines)) + ")\n\n" if lines else ""


def _nearest(module: str, minor: int, patch: int) -> str | None:
    """Return the version of a staging module for that release, or the one of the patch nearest to it; None if none can be had."""
    for near in _by_distance(patch):
        found = f"v0.{minor}.{near}"
        try:
            _go("mod", "download", f"{module}@{found}")
        except NoModuleFiles:
            continue
        return found
    return None


def _by_distance(patch: int) -> Iterator[int]:
    yield patch
    for distance in range(1, NEIGHBOURS + 1):
        if distance <= patch:
            yield patch - distance
        yield patch + distance


def _download(module: str) -> Any:
    return json.loads(_go("mod", "download", "-json", module))


def _go(*arguments: str, folder: str = "/") -> str:
    env = {**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off"}
    done = subprocess.run(("go", *arguments), cwd=folder, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-20:])
        raise NoModuleFiles(f"`go {' '.join(arguments[:3])}` failed with status {done.returncode}:\n{said}")
    return done.stdout


def main() -> None:
    programs = "--programs" in sys.argv[1:]
    for version in (argument for argument in sys.argv[1:] if argument != "--programs"):
        try:
            sys.stdout.write(f"{write(version, programs=programs)}\n")
        except NoModuleFiles as problem:
            sys.exit(f"modules: Kubernetes {version}: {problem}")


if __name__ == "__main__":
    main()
