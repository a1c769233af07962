"""Measure everything, or the themes named (`python -m benchmarks link`), print a table, and write build/bench.json."""

import asyncio
import os
import sys
from pathlib import Path

from benchmarks import cluster, crowd, devices, hostile, link, packed, probes, standing
from benchmarks.figure import Figure, table, write

RESULT = Path("build/bench.json")


async def measure(themes: list[str]) -> list[Figure]:
    """Return the figures of the themes named, or of all."""
    figures = []
    for theme in (link, devices, crowd, hostile, probes, standing, cluster, packed):
        name = theme.__name__.rpartition(".")[2]
        if not themes or name in themes:
            print(f"measuring: {theme.__doc__}", file=sys.stderr, flush=True)
            figures += [figure async for figure in theme.measure()]
    return figures


def main() -> None:
    """Measure what the command line names."""
    figures = asyncio.run(measure(sys.argv[1:]))
    write(figures, RESULT)
    print(table(figures))
    print(f"Load when it ended: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors. Written to {RESULT}.")


if __name__ == "__main__":
    main()
