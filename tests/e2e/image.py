"""The one image that sandboxes and containers of the tests run: Debian's static busybox, packed by hand."""

import hashlib
import io
import json
import tarfile
from pathlib import Path

REFERENCE = "localhost/busybox:1"
_BUSYBOX = Path("/bin/busybox")
_APPLETS = ("sh", "sleep", "cat", "ls", "mknod", "env", "dd", "true", "false", "id", "stat")


def write_image(archive: Path) -> None:
    """Write the image to `archive` in the form that `docker save` writes and `ctr images import` reads.

    Its entrypoint sleeps, which is all that a sandbox does.
    """
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        _add(files, "bin/busybox", _BUSYBOX.read_bytes(), mode=0o755)
        for applet in _APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            files.addfile(link)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Entrypoint": ["/bin/sleep", "2147483647"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer.getvalue()).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [REFERENCE], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as files:
        _add(files, "layer.tar", layer.getvalue())
        _add(files, "config.json", json.dumps(config).encode())
        _add(files, "manifest.json", json.dumps(manifest).encode())


def _add(files: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    files.addfile(entry, io.BytesIO(content))
