#!/usr/bin/env python3
"""Breaks the code in small ways, one at a time, and says which of them no test notices.

Arguments choose modules: `scripts/mutants.py core.health deviceplugin.reconcile`. Without one, all that [tool.mutmut] names are broken.
Everything happens in build/mutants, and all anew each time: a result of before says nothing about tests that have changed since.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build" / "mutants"
KILLED = {"killed", "timeout", "segfault", "caught by type check"}
UNNOTICED = {"survived", "no tests"}


def main() -> None:
    """Run mutmut on a copy of the tree and print each survivor and the share killed."""
    shutil.rmtree(WORK, ignore_errors=True)
    for name in ("npu_agent", "tests"):
        shutil.copytree(ROOT / name, WORK / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", WORK)
    os.chdir(WORK)
    wanted = [f"npu_agent.{module}.x*" for module in sys.argv[1:]]
    mutmut = [sys.executable, "-m", "mutmut", "run", "--max-children", str(len(os.sched_getaffinity(0)))]
    ran = subprocess.run([*mutmut, *wanted], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if ran.returncode:
        sys.exit(f"mutmut failed ({ran.returncode}):\n{ran.stdout[-4000:]}")
    report(sys.argv[1:])


def report(modules: list[str]) -> None:
    """Print the mutants that no test noticed, and the counts of each module and of all."""
    from mutmut.stats import status_by_exit_code  # reads its configuration from the current folder at once

    total: Counter[str] = Counter()
    lines = []
    for meta in sorted(Path("mutants").rglob("*.py.meta")):
        path = meta.relative_to("mutants").with_suffix("")
        module = ".".join(path.with_suffix("").parts[1:])
        if modules and module not in modules:
            continue
        codes: dict[str, int | None] = json.loads(meta.read_text())["exit_code_by_key"]
        counts: Counter[str] = Counter()
        for mutant, code in codes.items():
            status = status_by_exit_code[code]
            counts["killed" if status in KILLED else "survived" if status in UNNOTICED else status] += 1
            if status in UNNOTICED:
                print(f"{where(mutant, path)}{' (no test runs it)' if status == 'no tests' else ''}")
        if counts:
            lines.append(f"{path}: {said(counts)}")
        total += counts
    print("\n".join([*lines, f"all: {said(total)}"]))


def where(mutant: str, path: Path) -> str:
    """Return file:line of the first line that the mutant changes, with what it was and what it became."""
    from mutmut.__main__ import get_diff_for_mutant

    source = path.read_text().splitlines()
    diff = get_diff_for_mutant(mutant, path=path).splitlines()
    gone = [line[1:].strip() for line in diff if line.startswith("-") and not line.startswith("---")]
    new = [line[1:].strip() for line in diff if line.startswith("+") and not line.startswith("+++")]
    function = re.split(r"ǁ|\.x_", mutant.rsplit("__mutmut_", 1)[0])[-1]
    start = next((i for i, line in enumerate(source) if re.match(rf"\s*(async )?def {re.escape(function)}\(", line)), 0)
    line = next((i for i, text in enumerate(source[start:], start + 1) if gone and text.strip() == gone[0]), start + 1)
    return f"{path}:{line}: {' '.join(gone)}  =>  {' '.join(new)}"


def said(counts: Counter[str]) -> str:
    """Return the counts as words, with the share of the killed among those decided."""
    decided = counts["killed"] + counts["survived"]
    others = "".join(f", {n} {status}" for status, n in sorted(counts.items()) if status not in {"killed", "survived"})
    share = f" ({counts['killed'] / decided:.1%} killed)" if decided else ""
    return f"{counts['killed']} killed, {counts['survived']} survived{share}{others}"


if __name__ == "__main__":
    main()
