"""`npu-agent serve` as a process, in folders of its own."""

import asyncio
import json
import os
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.host_tree import Card, HostTree
from tests.program import PROGRAM

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
"""An installed program has its byte code beside it."""

SYSFS: Mapping[str, Any] = {}
"""The built-in configuration: the cards that the host has."""


class Site:
    """A folder with a host that has `cards` RNGD cards, kubelet's folder and the agent's. Its path is short, as sockets want it."""

    def __init__(self, root: Path, cards: int) -> None:
        self.root = root
        self.device_plugins = root / "kubelet/device-plugins"
        self.tree = HostTree(root / "host")
        self.cards: list[Card] = [self.tree.rngd(index) for index in range(cards)]
        self.log = root / "agent.log"

    async def start(self, configuration: Mapping[str, Any], *more: str, program: str = PROGRAM) -> Process:
        """Start an agent, with `more` options; it registers when it is ready to."""
        path = self.root / "config.yaml"
        path.write_text(json.dumps(configuration), encoding="utf-8")
        folders = {"--host-root": self.tree.root, "--kubelet-dir": self.root / "kubelet", "--runtime-dir": self.root / "run"}
        options = [text for name, folder in folders.items() for text in (name, str(folder))]
        with self.log.open("ab") as log:
            return await asyncio.create_subprocess_exec(
                program,
                "serve",
                "--config",
                path,
                *options,
                *more,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
            )


@asynccontextmanager
async def site(cards: int = 8) -> AsyncIterator[Site]:
    """Yield a new site, which goes with all in it."""
    with tempfile.TemporaryDirectory(prefix="npu-bench-") as folder:
        yield Site(Path(folder), cards)


@asynccontextmanager
async def running_agent(where: Site, configuration: Mapping[str, Any], *more: str) -> AsyncIterator[Process]:
    """Yield a running agent, with `more` options, which is ended in order."""
    process = await where.start(configuration, *more)
    try:
        yield process
    except Exception as error:
        error.add_note(f"The agent said:\n{where.log.read_text(encoding='utf-8')[-4000:]}")
        raise
    finally:
        await stop(process)


async def stop(process: Process) -> float:
    """End the process in order and return how long that took, in seconds."""
    started = time.monotonic()
    if process.returncode is None:
        process.terminate()
    async with asyncio.timeout(10):
        await process.wait()
    return time.monotonic() - started
