"""Shows that a second build, in another folder and with nothing kept of the first, gives the same bytes."""

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from container import binary, image, sbom


def contents(dist: Path) -> dict[str, str]:
    """Return the programs in `dist`: each file and folder with its mode, and with the digest of what a file holds."""
    return dict(_contents(dist))


def _contents(dist: Path) -> Iterator[tuple[str, str]]:
    for path in (dist / binary.ONE_FILE, *sorted((dist / binary.FOLDER).rglob("*"))):
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        yield str(path.relative_to(dist)), f"{path.lstat().st_mode:o} sha256:{digest}"


def main() -> None:
    """Build again and compare; say what is not the same."""
    dist = binary.ROOT / "dist"
    try:
        with tempfile.TemporaryDirectory(prefix="npu-agent-again-") as folder:
            _programs(dist, Path(folder))
            if os.geteuid() == 0:
                _image(dist, Path(folder))
            else:
                print("the image is built as root, and was not built again")
    except binary.CannotBuild as problem:
        sys.exit(f"reproducible: {problem}")


def _programs(dist: Path, again: Path) -> None:
    binary.build(dist, binary.ROOT / "build" / "binary")
    for path in binary.sources():
        copy = again / path.relative_to(binary.ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    binary.run(sys.executable, "-m", "container.binary", folder=again)
    first, second = contents(dist), contents(again / "dist")
    differing = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    if differing:
        sys.exit(f"reproducible: a second build differs in {', '.join(differing)}")
    print(f"dist/{binary.ONE_FILE} is {first[binary.ONE_FILE].split()[-1]} from two builds, and the folder is the same too")


def _image(dist: Path, again: Path) -> None:
    first, second = (image.build(target, name=image.name()) for target in (dist, again / "image"))
    if first != second:
        sys.exit(f"reproducible: the image is {first}, and {second} from a second build")
    for name in (image.ARCHIVE, sbom.NAME):
        if (dist / name).read_bytes() != (again / "image" / name).read_bytes():
            sys.exit(f"reproducible: a second build differs in {name}")
    print(f"dist/{image.ARCHIVE} is {first} from two builds, and what is said of it is the same too")


if __name__ == "__main__":
    main()
