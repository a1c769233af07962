"""The image as a container runtime has it: its layers laid over each other, its configuration, and containers of it that runc runs."""

import asyncio
import json
import tarfile
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

END_S = 30.0


@dataclass(frozen=True, slots=True)
class Image:
    """An image that lies unpacked in `root`. `files` are its files and folders by name, each as the archive describes it."""

    folder: Path
    root: Path
    files: Mapping[str, tarfile.TarInfo]
    configuration: Mapping[str, Any]
    names: tuple[str, ...]
    digest: str

    @classmethod
    def unpack(cls, archive: tarfile.TarFile, folder: Path, digest: str) -> "Image":
        """Return the only image of an archive of `docker save`, unpacked below `folder`."""
        (manifest,) = json.loads(_read(archive, "manifest.json"))
        files: dict[str, tarfile.TarInfo] = {}
        root = folder / "root"
        for name in manifest["Layers"]:
            with tarfile.open(fileobj=archive.extractfile(name)) as layer:
                layer.extractall(root, filter="fully_trusted")
                files |= {entry.name: entry for entry in layer.getmembers()}
        configuration = json.loads(_read(archive, manifest["Config"]))
        return cls(folder, root, files, configuration, tuple(manifest["RepoTags"]), digest)

    @asynccontextmanager
    async def started(self, *arguments: str, mounts: Mapping[Path, str] = {}) -> AsyncIterator["Container"]:
        """Yield a container of the image with these arguments, as the chart has it: read-only, without capabilities, and root.

        `mounts` are folders of the host that it may write to, each with its place in the container.
        """
        name = f"npu-image-{uuid.uuid4().hex[:8]}"
        bundle = self.folder / name
        bundle.mkdir()
        (bundle / "config.json").write_text(json.dumps(self._configuration(arguments, mounts)))
        runc = ("runc", "--root", str(self.folder / "runc"))
        process = await asyncio.create_subprocess_exec(
            *(*runc, "run", "--bundle", str(bundle), "--pid-file", str(bundle / "pid"), name),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            yield Container(process, bundle / "pid")
        finally:
            if process.returncode is None:
                delete = await asyncio.create_subprocess_exec(*runc, "delete", "--force", name)
                await delete.wait()
                await process.wait()

    async def run(self, *arguments: str, mounts: Mapping[Path, str] = {}) -> tuple[int, str]:
        """Return the exit status of a container with these arguments, and what it said."""
        async with self.started(*arguments, mounts=mounts) as container:
            return await container.ended()

    def _configuration(self, arguments: tuple[str, ...], mounts: Mapping[Path, str]) -> dict[str, Any]:
        said = self.configuration["config"]
        bound = [{"destination": at, "type": "bind", "source": str(path), "options": ["rbind", "rw"]} for path, at in mounts.items()]
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": 0, "gid": 0},
                "args": [*said["Entrypoint"], *(arguments or said["Cmd"])],
                "env": said["Env"],
                "cwd": "/",
                "capabilities": {},
                "noNewPrivileges": True,
            },
            "root": {"path": str(self.root), "readonly": True},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, *bound],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts", "network")]},
        }


@dataclass(frozen=True, slots=True)
class Container:
    """A container that was started."""

    runc: asyncio.subprocess.Process
    pid_file: Path

    @property
    def pid(self) -> int:
        """Its first process, as it is seen here."""
        return int(self.pid_file.read_text())

    async def ended(self) -> tuple[int, str]:
        """Return its exit status and what it said, when it has ended."""
        with anyio.fail_after(END_S):
            said, _ = await self.runc.communicate()
        assert self.runc.returncode is not None
        return self.runc.returncode, said.decode()


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()
