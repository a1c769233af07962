"""The floors that need a process: started, called, timed."""

import asyncio
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.agent import ENVIRONMENT
from benchmarks.wire import Caller


async def bare(*arguments: str, stdout: int | None = None) -> Process:
    """Start a bare process (see benchmarks/bare.py)."""
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.bare", *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=stdout, env=ENVIRONMENT
    )


async def import_s() -> float:
    """Return how long a Python takes that imports what the agent imports."""
    started = time.monotonic()
    await (await bare("imports")).wait()
    return time.monotonic() - started


@asynccontextmanager
async def bare_server(path: Path, count: int = 0) -> AsyncIterator[Caller]:
    """A plugin that does nothing, in a process of its own as the agent is."""
    process = await bare("serve", str(path), str(count), stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(10):
            await process.stdout.readline()
        async with Caller(path) as caller:
            yield caller
    finally:
        process.terminate()
        await process.wait()


async def connect_and_call_s(path: Path) -> float:
    """Return how long the first call on a new connection takes."""
    async with Caller(path) as caller:
        return await caller.call_ms("GetDevicePluginOptions") / 1000
