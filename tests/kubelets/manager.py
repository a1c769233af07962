"""A process with kubelet's own device manager, driven over its standard input and output."""

import asyncio
import itertools
import json
from pathlib import Path
from typing import Any

import anyio

_ANSWER_S = 30.0
_LONGEST_ANSWER = 1 << 24

# Kubelet's folder is fixed, and /var/lib/kubelet need not be there: what is mounted is seen by this process alone.
_INSIDE = """
mount -t tmpfs -o mode=755 kubelet /var/lib && mkdir /var/lib/kubelet && mount --bind "$1" /var/lib/kubelet || exit
exec "$2"
"""


class ManagerFailed(Exception):
    """The manager answered with an error, or ended; the text is what it said."""


class DeviceManager:
    """The device manager of one kubelet process on the folder `kubelet_dir`. What it says goes to the end of `log`."""

    def __init__(self, program: Path, kubelet_dir: Path, log: Path) -> None:
        self._argv = ("unshare", "--mount", "--propagation=private", "sh", "-c", _INSIDE, "sh", str(kubelet_dir), str(program))
        self._log = log
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "DeviceManager":
        pipe = asyncio.subprocess.PIPE
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self._argv, stdin=pipe, stdout=pipe, stderr=log, limit=_LONGEST_ANSWER)
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        """Kill it, as a kubelet may be at any moment."""
        assert self._process is not None
        assert self._reading is not None
        with anyio.CancelScope(shield=True):
            if self._process.returncode is None:
                self._process.kill()
            await self._process.wait()
            await self._reading

    async def do(self, command: str, **arguments: Any) -> Any:
        """Have the driver carry out a command (driver/main.go) and return its result. Raises ManagerFailed."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        if self._process.returncode is not None:
            raise ManagerFailed(f"it has ended; {self._log} has what it said last")
        self._process.stdin.write(json.dumps({"ID": number, "Do": command, **arguments}).encode() + b"\n")
        with anyio.fail_after(_ANSWER_S):
            return await answer

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            answer = json.loads(line)
            future = self._waiting.pop(answer["ID"])
            if future.done():
                continue  # whoever asked has given up
            if "Error" in answer:
                future.set_exception(ManagerFailed(answer["Error"]))
            else:
                future.set_result(answer.get("Result"))
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(ManagerFailed(f"it ended; {self._log} has what it said last"))
