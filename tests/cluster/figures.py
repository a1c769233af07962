"""Figures that are measured on the cluster, kept for whoever makes the table of all figures."""

import fcntl
import json
from pathlib import Path

FILE = Path(__file__).parents[2] / "build" / "cluster-figures.json"


def write(name: str, value: float) -> None:
    """Keep a figure, to three digits behind the point."""
    FILE.parent.mkdir(exist_ok=True)
    with FILE.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # tests run in several processes
        file.seek(0)
        figures = json.loads(file.read() or "{}")
        file.truncate(0)
        file.write(json.dumps({**figures, name: round(value, 3)}, indent=2) + "\n")
