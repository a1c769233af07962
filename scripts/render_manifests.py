#!/usr/bin/env python3
"""Writes container/manifests out of the chart, with helm, for those who do not use it.

Without an argument it renders them in place; with a folder it writes the fresh ones there, to be compared. `--stale` renders nothing and
needs no helm: it says which manifests were not rendered from the chart as it is, and ends with status 1 if there are any.
"""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CHART = ROOT / "container" / "chart" / "npu-agent"
MANIFESTS = ROOT / "container" / "manifests"
KUBERNETES = "1.31.0"
"""The oldest release that the manifests are for; an older API server does not know a field of theirs."""
RENDERED: dict[str, tuple[str, ...]] = {
    "npu-agent.yaml": (),
    "npu-agent-with-labels.yaml": ("--set", "cluster.labels=apply"),
}
_OF_HELM = re.compile(r"^ *(helm\.sh/chart|app\.kubernetes\.io/managed-by): .*\n", re.MULTILINE)
_DIGEST = re.compile(r"^# Of the chart with the digest ([0-9a-f]{64})\.$", re.MULTILINE)


def main(target: Path) -> None:
    """Render every manifest into `target`."""
    target.mkdir(parents=True, exist_ok=True)
    for name, values in RENDERED.items():
        options = ("--namespace", "kube-system", "--kube-version", KUBERNETES, "--no-hooks", *values)
        # helm is built where it is not in the cache yet; it says so itself.
        argv = (sys.executable, "-m", "tests.e2e.helm", "template", "npu-agent", str(CHART), *options)
        rendered = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
        (target / name).write_text(_head(values) + _OF_HELM.sub("", rendered))


def _head(values: tuple[str, ...]) -> str:
    return (
        f"# npu-agent for Kubernetes {KUBERNETES.rpartition('.')[0]} and newer: kubectl apply -f FILE, with the name of your image in it.\n"
        f"# Rendered from container/chart/npu-agent{' with ' if values else ''}{' '.join(values)} by scripts/render_manifests.py.\n"
        f"# Of the chart with the digest {digest()}.\n"
    )


def digest() -> str:
    """Return the digest of all that the manifests are rendered from."""
    whole = hashlib.sha256()
    chart = [path for path in CHART.rglob("*") if path.is_file() and path.name not in ("README.md", "NOTES.txt")]
    for path in (*sorted(chart), Path(__file__), ROOT / "tests" / "e2e" / "tools" / "helm" / "go.mod"):
        whole.update(f"{path.relative_to(ROOT)}\0".encode() + path.read_bytes())
    return whole.hexdigest()


def stale() -> list[str]:
    """Return the manifests that are missing or were not rendered from the chart as it is."""
    fresh = digest()
    texts = {name: (MANIFESTS / name).read_text() if (MANIFESTS / name).exists() else "" for name in RENDERED}
    return [name for name, text in texts.items() if _DIGEST.findall(text) != [fresh]]


if __name__ == "__main__":
    if sys.argv[1:] == ["--stale"]:
        names = stale()
        if names:
            sys.exit(
                f"container/manifests/{' and '.join(names)} was not rendered from the chart as it is: run make manifests (it needs Go)"
            )
    else:
        main(Path(sys.argv[1]) if len(sys.argv) > 1 else MANIFESTS)
