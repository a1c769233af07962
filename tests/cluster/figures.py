"""Figures that are measured on the cluster, kept for whoever makes the table of all figures."""

import json
from pathlib import Path

FILE = Path(__file__).parents[2] / "build" / "cluster-figures.json"


def write(name: str, value: float) -> None:
    """Keep a figure, to three digits behind the point."""
    figures = json.loads(FILE.read_text()) if FILE.exists() else {}
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps({**figures, name: round(value, 3)}, indent=2) + "\n")
