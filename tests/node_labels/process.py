"""`npu-agent serve` as a process that tells a cluster of the node n1, in folders of its own."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from tests.program import PROGRAM, environment

NODE = "n1"


@asynccontextmanager
async def serving(
    folder: Path, configuration: dict[str, Any], *, interpreter: tuple[str, ...] = (), within_s: float = 30
) -> AsyncIterator[Process]:
    """Yield an agent whose host is `host` below the folder, and which reaches the API server by `kubeconfig` there."""
    (folder / "kubelet/device-plugins").mkdir(parents=True, exist_ok=True)
    (folder / "agent.yaml").write_text(json.dumps({"scan_interval_s": 0.05, **configuration}))
    program = [sys.executable, *interpreter, "-m", "npu_agent"] if interpreter else [PROGRAM]
    options = {
        "--config": folder / "agent.yaml",
        "--host-root": folder / "host",
        "--kubelet-dir": folder / "kubelet",
        "--runtime-dir": folder / "run",
        "--kubeconfig": folder / "kubeconfig",
        "--node-name": NODE,
    }
    arguments = [str(text) for pair in options.items() for text in pair]
    process = await asyncio.create_subprocess_exec(*program, "serve", *arguments, stderr=PIPE, env=environment())
    try:
        with anyio.fail_after(within_s):
            yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
