"""Builds the image by container/Containerfile: dist/npu-agent-image.tar, which `docker load`, `podman load` and `ctr images import` take.

It is built in a base that is made of Debian packages, so that no registry is needed; `--base` names another one. It needs root, buildah
and, for the base, mmdebstrap; what is kept between two runs lies in a cache outside the checkout.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from container import base, binary, builder, sbom
from container.builder import Buildah

ARCHIVE = "npu-agent-image.tar"
CONTAINERFILE = binary.ROOT / "container" / "Containerfile"


def build(target: Path, *, name: str, from_base: str = "", backends: Path | None = None) -> str:
    """Build the image into `target`, named `name`, unless it is there and nothing has changed; return the digest of its manifest.

    `from_base` names the image that it is built in, instead of one of Debian packages. `backends` is a file in requirements/ that names
    backends of third parties (container/binary.py). Beside the archive lies what it is made of (container/sbom.py). Raises CannotBuild.
    """
    if backends and not (backends.is_file() and backends.resolve().parent == binary.ROOT / "requirements"):
        raise binary.CannotBuild(f"{backends} is not a file in {binary.ROOT}/requirements, from where the build takes it")
    with builder.opened() as buildah:
        return _build(buildah, target, name, from_base, backends)


def _build(buildah: Buildah, target: Path, name: str, from_base: str, backends: Path | None) -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH") or binary.commit_time()
    arguments = {
        "BASE": from_base or base.made_of_packages(buildah, builder.cache()),
        "SOURCE_DATE_EPOCH": epoch,
        "CREATED": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(int(epoch))),
        "VERSION": version(),
        "REVISION": revision(),
        "BACKENDS": f"requirements/{backends.name}" if backends else "",
    }
    archive, built_of, document = target / ARCHIVE, target / ".npu-agent-image.inputs", target / sbom.NAME
    inputs = binary.digest_of(CONTAINERFILE, *binary.sources(backends), said=f"{name} {sorted(arguments.items())}")
    if archive.exists() and document.exists() and built_of.exists() and built_of.read_text().split()[0] == inputs:
        return built_of.read_text().split()[1]
    for stale in (built_of, archive, document):
        stale.unlink(missing_ok=True)
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=builder.cache(), prefix="building-") as built:
        with_arguments = [word for pair in arguments.items() for word in ("--build-arg", "=".join(pair))]
        options = ("--volume", f"{built}:/built", "--timestamp", epoch, "--identity-label=false", "--file", str(CONTAINERFILE))
        buildah("bud", *builder.FETCHING, *options, *with_arguments, "--tag", name, str(binary.ROOT))
        buildah("push", "--quiet", "--digestfile", f"{built}/digest", name, f"docker-archive:{archive}:{name}")
        buildah("rmi", "--force", name)
        digest = Path(built, "digest").read_text()
        inventory = json.loads(Path(built, binary.INVENTORY).read_text(encoding="utf-8"))
    sbom.write(document, sbom.document(inventory, version=version(), digest=digest, created=arguments["CREATED"]))
    built_of.write_text(f"{inputs} {digest}")
    return digest


def name() -> str:
    """Return what the image is called unless it is said: a name that no registry has, since it is on no registry."""
    return f"localhost/npu-agent:{version()}"


def version() -> str:
    """Return the version of the agent, without importing it."""
    text = (binary.ROOT / "npu_agent" / "__init__.py").read_text(encoding="utf-8")
    return str(ast.literal_eval(text.rpartition("__version__ = ")[2].strip()))


def revision() -> str:
    """Return the commit that is checked out, or nothing without git."""
    try:
        return subprocess.run(("git", "rev-parse", "HEAD"), cwd=binary.ROOT, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def main() -> None:
    """Build what the command line says and tell its digest."""
    parser = argparse.ArgumentParser(description="Build the image of the agent.")
    parser.add_argument("--target", type=Path, default=binary.ROOT / "dist")
    parser.add_argument("--name", default=name(), help="what the image is called where it is loaded")
    parser.add_argument("--base", default="", help="an image to build in, instead of one of Debian packages")
    parser.add_argument("--backends", type=Path, help="a file in requirements/ of backends of third parties to take along")
    options = parser.parse_args()
    try:
        digest = build(options.target.resolve(), name=options.name, from_base=options.base, backends=options.backends)
    except binary.CannotBuild as problem:
        sys.exit(f"image: {problem}")
    print(f"{options.target / ARCHIVE} is {options.name}, {digest}; what it is made of is in {sbom.NAME}")


if __name__ == "__main__":
    main()
