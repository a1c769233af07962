"""What the single binary and the image weigh, and how soon kubelet hears from a program that brings its own Python."""

import sys
import tarfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.agent import SYSFS, Site, site, stop
from benchmarks.figure import Figure, of_rounds
from benchmarks.floors import import_s
from benchmarks.kubelet import Kubelet, running_kubelet
from container import binary, image

STARTS = 20
MOST_MB = 30.0


async def measure() -> AsyncIterator[Figure]:
    """Yield the figures of this theme. The programs and the image are built unless they are there and nothing has changed."""
    dist = binary.ROOT / "dist"
    binary.build(dist, binary.ROOT / "build" / "binary")
    one_file, folder = dist / binary.ONE_FILE, dist / binary.FOLDER / binary.ONE_FILE
    yield Figure("binary_mb", one_file.stat().st_size / 1e6, MOST_MB, 0.0, "none", 1)
    try:
        image.build(dist, name=image.name())
    except binary.CannotBuild as problem:
        print(f"there is no image_mb: {problem}", file=sys.stderr)
    else:
        yield _of_image(dist / image.ARCHIVE)
    async with site() as where, running_kubelet(where.device_plugins) as kubelet:
        for name, program, target in (("binary_start_to_register_s", one_file, 0.6), ("folder_start_to_register_s", folder, 0.35)):
            starts, imports = [], []
            for _ in range(STARTS):
                starts.append(await _start_s(where, kubelet, program))
                imports.append(await import_s())
            yield of_rounds(name, starts, target, imports, "Python importing the same libraries")


def _of_image(archive: Path) -> Figure:
    with tarfile.open(archive) as outer:
        (packed,) = (entry for entry in outer if entry.isreg() and entry.name.endswith(".tar"))
        with tarfile.open(fileobj=outer.extractfile(packed)) as layer:
            sizes = {entry.name: entry.size / 1e6 for entry in layer.getmembers()}
    libraries = sum(size for file, size in sizes.items() if file.rpartition("/")[2].startswith(("lib", "ld-")))
    return Figure("image_mb", sum(sizes.values()), MOST_MB, libraries, "the libraries of Python, OpenSSL and C in it", 1)


async def _start_s(where: Site, kubelet: Kubelet, program: Path) -> float:
    started = time.monotonic()
    process = await where.start(SYSFS, program=str(program))
    registered = await kubelet.registration()
    await kubelet.list_with(healthy=len(where.cards))
    await stop(process)
    return registered - started
