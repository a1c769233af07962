"""The images of docs/examples, built by the Containerfiles there in a base of Debian packages, and kept in a cache outside the checkout.

`python -m tests.cluster.example_images` builds those that are missing.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from container import base, binary, builder
from tests.cluster.examples import FOLDER

NAMES = ("inference", "jupyterlab")


def built(name: str) -> Path:
    """Return an archive with the image `localhost/NAME:latest` of `docs/examples/NAME`, building it if need be. Raises CannotBuild."""
    folder = FOLDER / name
    digest = hashlib.sha256(repr((base.SUITE, base.PACKAGES)).encode())
    for path in sorted(folder.iterdir()):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    archive = builder.cache() / f"example-{name}-{digest.hexdigest()[:16]}.tar"
    if archive.exists():
        return archive
    sys.stdout.write(f"cluster: building the image of docs/examples/{name} (some minutes, once)\n")
    sys.stdout.flush()
    with builder.opened() as buildah, tempfile.TemporaryDirectory(prefix="npu-example-") as context:
        shutil.copytree(folder, context, dirs_exist_ok=True)
        tag = f"localhost/{name}:latest"
        chosen = base.made_of_packages(buildah, builder.cache())
        buildah("bud", *builder.FETCHING, "--layers=false", "--build-arg", f"BASE={chosen}", "--tag", tag, context)
        fresh = archive.with_suffix(f".{os.getpid()}")
        buildah("push", "--quiet", tag, f"docker-archive:{fresh}:{tag}")
        buildah("rmi", "--force", tag)
        fresh.rename(archive)
    return archive


def main() -> None:
    for name in NAMES:
        try:
            built(name)
        except binary.CannotBuild as problem:
            sys.exit(f"cluster: {problem}")


if __name__ == "__main__":
    main()
