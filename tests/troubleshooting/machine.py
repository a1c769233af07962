"""A machine for an agent, in folders of its own, and all that is said on it."""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from tests.program import PROGRAM, environment
from tests.scenarios.eventually import eventually

WITHIN_S = 20.0
AT_ONCE = {"probe_interval_s": 0.1, "scan_interval_s": 0.2, "recover_after": 1}


@dataclass
class Machine:
    """A root with a host, kubelet's folder and the agent's. `said` is what was said in it so far, without the name of the root."""

    root: Path
    texts: list[str] = field(default_factory=list)

    @property
    def kubelet_dir(self) -> Path:
        return self.root / "var/lib/kubelet"

    @property
    def runtime_dir(self) -> Path:
        return self.root / "run/npu-agent"

    @property
    def log(self) -> Path:
        return self.root / "log"

    def said(self) -> str:
        log = self.log.read_text() if self.log.exists() else ""
        return "\n".join([*self.texts, log]).replace(str(self.root), "")

    async def says(self, text: str) -> None:
        async def look() -> str:
            return self.said()

        await eventually(look, lambda said: text in said, within_s=WITHIN_S)

    async def run(self, *arguments: str | Path, runtime_dir: Path | None = None) -> None:
        """Run a command of npu-agent to its end."""
        of_kubelet = () if arguments[0] == "fake" else ("--kubelet-dir", self.kubelet_dir)
        argv = [PROGRAM, *map(str, (*arguments, "--runtime-dir", runtime_dir or self.runtime_dir, *of_kubelet))]
        with anyio.fail_after(WITHIN_S):
            ran = await anyio.run_process(argv, check=False, env=environment(), stderr=-2)
        self.texts.append(ran.stdout.decode())

    @asynccontextmanager
    async def serving(
        self, *options: str | Path, configuration: Mapping[str, Any] | None = None, below: tuple[str, ...] = ()
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        """Have an agent run, as a child of the command `below`."""
        path = self.root / "agent.yaml"
        path.write_text(json.dumps({**AT_ONCE, **(configuration or {})}))
        folders = ("--kubelet-dir", self.kubelet_dir, "--runtime-dir", self.runtime_dir, "--config", path)
        argv = [*below, PROGRAM, "serve", *map(str, (*folders, *options))]
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(*argv, env=environment(), stdout=log, stderr=log)
        try:
            yield process
        except BaseException as error:
            error.add_note(self.said())
            raise
        finally:
            process.terminate()
            with anyio.fail_after(WITHIN_S):
                await process.wait()

    async def get(self, port: int, path: str, status: int) -> None:
        """Return when a page has that status, and take what it says."""

        def look() -> tuple[int, str]:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WITHIN_S)
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()
            except ConnectionRefusedError:
                return 0, ""
            finally:
                connection.close()

        async def ask() -> tuple[int, str]:
            return await asyncio.to_thread(look)

        self.texts.append((await eventually(ask, lambda answer: answer[0] == status, within_s=WITHIN_S))[1])
