"""The programs and the image as `make binary image` builds them, which they are for these tests where they are not yet."""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from container import binary, builder, image
from tests.container.loaded import Image

DIST = binary.ROOT / "dist"
WORK = binary.ROOT / "build" / "binary"


@dataclass(frozen=True, slots=True)
class Programs:
    """Both forms, and the Python that built them."""

    one_file: Path
    folder: Path
    python: Path


@pytest.fixture(scope="session")
def programs() -> Programs:
    try:
        binary.build(DIST, WORK)
    except binary.CannotBuild as problem:
        pytest.exit(f"binary: {problem}", returncode=1)
    return Programs(DIST / binary.ONE_FILE, DIST / binary.FOLDER / "npu-agent", WORK / "venv" / "bin" / "python")


@pytest.fixture(scope="session")
def loaded() -> Iterator[Image]:
    """The image, unpacked as a container runtime does."""
    try:
        builder.prepare("runc")
        digest = image.build(DIST, name=image.name())
    except binary.CannotBuild as problem:
        pytest.exit(f"image: {problem}", returncode=1)
    with TemporaryDirectory(prefix="npu-image-") as folder, tarfile.open(DIST / image.ARCHIVE) as archive:
        yield Image.unpack(archive, Path(folder), digest)
