"""One agent on a node: the lock that says so, and taking over from another one."""

import fcntl
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from npu_agent.control.client import AgentClient, AgentRefused, AgentUnreachable
from npu_agent.core.errors import NpuAgentError

LOCK_NAME = "agent.lock"
TAKE_OVER_WITHIN_S = 10.0
LOOK_AGAIN_S = 0.01


class AlreadyRunning(NpuAgentError):
    """Another agent holds the lock; the text says which and what to do."""


class RuntimeFolderUnusable(NpuAgentError):
    """The folder for the lock and the agent's socket cannot be made or written."""


@asynccontextmanager
async def only_instance(runtime_dir: Path, *, replace: bool) -> AsyncIterator[None]:
    """Hold the lock of `runtime_dir` while entered. With `replace` an agent that holds it is asked to end first.

    The kernel lets go of the lock when its holder dies, however it dies. It lies outside kubelet's folder of device plugins, where
    older kubelets remove every file when they start. Raises AlreadyRunning and RuntimeFolderUnusable.
    """
    try:
        runtime_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(runtime_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise RuntimeFolderUnusable(
            f"{runtime_dir} cannot be used for the agent's lock and socket: {error.strerror}; choose another folder with --runtime-dir"
        ) from error
    try:
        if not _lock(file):
            if not replace:
                raise AlreadyRunning(
                    f"another npu-agent ({_holder(file)}) runs on this node with the folder {runtime_dir};"
                    " stop it, or take over with --replace"
                )
            await _take_over(file, runtime_dir)
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(file)


async def _take_over(file: int, runtime_dir: Path) -> None:
    try:
        async with AgentClient(runtime_dir) as agent:
            await agent.shut_down()
    except (AgentUnreachable, AgentRefused):
        pass  # it may be starting or ending right now; the lock tells
    with anyio.move_on_after(TAKE_OVER_WITHIN_S):
        while not _lock(file):  # noqa: ASYNC110 - the kernel tells nobody that a lock is free, short of a thread that waits
            await anyio.sleep(LOOK_AGAIN_S)
        return
    raise AlreadyRunning(
        f"the npu-agent on this node ({_holder(file)}) did not end within {TAKE_OVER_WITHIN_S:g} s of being asked; end it by hand"
    )


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(file: int) -> str:
    return os.pread(file, 100, 0).decode(errors="replace").strip() or "it has not said its process yet"
