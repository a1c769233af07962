"""One agent on a node: the locks that say so, taking over from another one, and the agent's own folder while it runs."""

import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from npu_agent.control.client import SOCKET_NAME, AgentClient
from npu_agent.control.errors import AgentRefused, AgentUnreachable
from npu_agent.host.errors import SHORTAGES, AlreadyRunning, FolderUnusable
from npu_agent.host.locks import FileLock, FolderLock
from npu_agent.host.private import PrivateFolder
from npu_agent.rpc.sockets import MAX_SOCKET_PATH

LOCK_NAME = "agent.lock"
NEXT_LOCK_NAME = "agent.next.lock"
"""Held by whoever is taking over, so that of several at once each knows at once."""

TAKE_OVER_WITHIN_S = 10.0
ASK_AGAIN_S = 0.1
LOOK_AGAIN_S = 0.01
LOOK_AFTER_S = 1.0
"""Seconds between two looks at whether the agent's folder and its socket are still there."""

SOURCE = "runtime folder"

log = logging.getLogger(__name__)


class Instance:
    """The agent's own folder, held by its lock, and the lock of kubelet's folder, which all agents of one kubelet see.

    It is the store of what the agent remembers.
    """

    def __init__(self, folder: PrivateFolder, lock: FileLock, kubelet_lock: FolderLock) -> None:
        self._folder = folder
        self._lock = lock
        self.kubelet_lock = kubelet_lock
        self._kept: dict[str, bytes] = {}
        """What the files of the folder should have, to make them again."""

    @property
    def path(self) -> Path:
        """The agent's own folder."""
        return self._folder.path

    async def read(self, name: str, most_bytes: int) -> bytes | None:
        """Return the content of a file of ours, None if there is none. Raises FolderUnusable."""
        content = await self._folder.read(name, most_bytes)
        if content is not None:
            self._kept[name] = content
        return content

    async def write(self, name: str, content: bytes) -> None:
        """Replace the content of a file of ours. Raises FolderUnusable."""
        self._kept[name] = content
        await self._folder.write(name, content)

    def take_kubelet_folder(self) -> str:
        """Take the lock of kubelet's folder, and return why it is not ours, empty if it is or if there is no folder yet."""
        lock = self.kubelet_lock
        try:
            if lock.take():
                return ""
        except OSError as error:
            if error.filename is not None and error.errno not in SHORTAGES:
                return ""  # there is nothing to register with, which the link tells
            return f"{lock.path} cannot be locked: {error.strerror}; nothing is registered, because another agent may serve it"
        return (
            f"another agent ({lock.holder}) serves {lock.path}, with another --runtime-dir, where --replace does not find it;"
            " stop that one: nothing is registered until it has gone"
        )

    async def look_after(self, restore_socket: Callable[[], Awaitable[None]], tell: Callable[[str, str], None]) -> None:
        """Make the folder, the lock, our files and the agent's socket again whenever somebody removed them; never return."""
        while True:
            await anyio.sleep(LOOK_AFTER_S)
            try:
                await self._restore(restore_socket)
                tell(SOURCE, "")
            except (FolderUnusable, AlreadyRunning, OSError) as error:
                tell(SOURCE, f"{self.path} was removed or changed, and cannot be made again: {error}")

    async def _restore(self, restore_socket: Callable[[], Awaitable[None]]) -> None:
        restored: list[str] = []
        if not self._folder.is_there():
            self._open_again()
            restored.append(str(self.path))
        if not self._lock.is_there():
            self._lock_again(self._folder)
            restored.append(LOCK_NAME)
        for name in [name for name in self._kept if not (self.path / name).exists()]:
            await self._folder.write(name, self._kept[name])
            restored.append(name)
        if not (self.path / SOCKET_NAME).is_socket():
            await restore_socket()
            restored.append(SOCKET_NAME)
        if restored:
            log.warning("%s: somebody removed %s, which is made again", self.path, ", ".join(restored))

    def _open_again(self) -> None:
        folder = PrivateFolder.open(self.path)
        try:
            self._lock_again(folder)
        except BaseException:
            folder.close()
            raise
        self._folder.close()
        self._folder = folder

    def _lock_again(self, folder: PrivateFolder) -> None:
        lock = FileLock(folder, LOCK_NAME)
        try:
            if not lock.take():
                raise AlreadyRunning(f"another agent ({lock.holder}) has taken it")
        except BaseException:
            lock.close()
            raise
        self._lock.close()
        self._lock = lock

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()
        self._folder.close()


@asynccontextmanager
async def only_instance(runtime_dir: Path, device_plugins: Path, *, replace: bool) -> AsyncIterator[Instance]:
    """Be the one agent of `runtime_dir` and of kubelet's folder `device_plugins` while entered.

    With `replace` an agent that is there is asked to end first. Raises AlreadyRunning and FolderUnusable.
    """
    if len(os.fsencode(runtime_dir / SOCKET_NAME)) > MAX_SOCKET_PATH:
        raise FolderUnusable(
            f"a socket in {runtime_dir} would have a path longer than {MAX_SOCKET_PATH} bytes; choose a shorter --runtime-dir"
        )
    folder = PrivateFolder.open(runtime_dir)
    try:
        lock = FileLock(folder, LOCK_NAME)
    except BaseException:
        folder.close()
        raise
    instance = Instance(folder, lock, FolderLock(device_plugins))
    try:
        if not lock.take():
            if not replace:
                raise AlreadyRunning(
                    f"another npu-agent ({lock.holder}) runs on this node with the folder {runtime_dir};"
                    " stop it, or take over with --replace"
                )
            await _take_over(folder, lock)
        if wrong := instance.take_kubelet_folder():
            raise AlreadyRunning(wrong)
        yield instance
    finally:
        instance.kubelet_lock.close()
        instance.close()


async def _take_over(folder: PrivateFolder, lock: FileLock) -> None:
    """Have the agent that holds the lock end, and take the lock. Of several who want to, one may; the others are told at once."""
    mine = FileLock(folder, NEXT_LOCK_NAME)
    try:
        if not mine.take():
            raise AlreadyRunning(f"another npu-agent ({mine.holder}) is taking over in {folder.path} right now; start again after it")
        asked = await _wait_for(lock, folder.path)
    finally:
        mine.close()
    if asked is not None:
        how = f"did not end within {TAKE_OVER_WITHIN_S:g} s of being asked" if asked else "does not answer, so it could not be asked to end"
        raise AlreadyRunning(f"the npu-agent on this node ({lock.holder}) {how}; end it by hand")


async def _wait_for(lock: FileLock, runtime_dir: Path) -> bool | None:
    """Return None when the lock is ours, else whether its holder was asked to end."""
    asked = False
    with anyio.move_on_after(TAKE_OVER_WITHIN_S):
        while True:
            if lock.take():
                return None
            if not asked:
                try:
                    async with AgentClient(runtime_dir) as agent:
                        await agent.shut_down()
                    asked = True
                except (AgentUnreachable, AgentRefused):
                    # It may be starting or ending right now.
                    await anyio.sleep(ASK_AGAIN_S)
                    continue
            await anyio.sleep(LOOK_AGAIN_S)  # the kernel tells nobody that a lock is free, short of a thread that waits
    return asked
