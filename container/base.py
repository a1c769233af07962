"""The base in which the image is built where no registry is reached: Debian's Python, made of Debian packages by mmdebstrap, once."""

import hashlib
from pathlib import Path

from container import binary
from container.builder import Buildah

SUITE = "bookworm"
PACKAGES = ("python3", "python3-venv", "libpython3.11", "binutils", "ca-certificates")
"""Python and its shared library, pip by way of venv, what PyInstaller takes programs apart with, and whom pip trusts."""


def made_of_packages(buildah: Buildah, folder: Path) -> str:
    """Return the name of the base, which is made where buildah's storage does not have it; `folder` is for what it is made of.

    It is named after what it is asked to have and not after the versions that it then has: who wants newer ones removes the storage.
    Raises binary.CannotBuild.
    """
    name = f"localhost/npu-agent-base:{hashlib.sha256(repr((SUITE, PACKAGES)).encode()).hexdigest()[:12]}"
    if name in buildah("images", "--format", "{{.Name}}:{{.Tag}}").split():
        return name
    print(f"image: making {name} of Debian packages (half a minute, once)", flush=True)
    archive = folder / "base.tar"
    archive.unlink(missing_ok=True)
    binary.run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(archive))
    container = buildah("from", "scratch").strip()
    try:
        buildah("add", "--quiet", container, str(archive), "/")
        buildah("commit", "--quiet", container, name)
    finally:
        buildah("rm", container)
        archive.unlink()
    return name
