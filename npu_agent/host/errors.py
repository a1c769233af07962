"""What can go wrong between us and the machine."""

import errno
import resource

from npu_agent.core.errors import NpuAgentError

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""Errors that say that this process or the machine lacks files, memory or threads, and nothing of the card that was read."""


class ShortOfResources(NpuAgentError):
    """This process cannot open a file, start a thread or get memory. The text names the limit; it says nothing of any card."""

    @classmethod
    def of(cls, error: BaseException) -> "ShortOfResources":
        """Return the shortage that `error` tells of: an OSError of SHORTAGES, a MemoryError, or a thread that cannot be started."""
        number = error.errno if isinstance(error, OSError) else None
        if number == errno.EMFILE:
            most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            return cls(f"this process may not open more files (its limit is {most}); raise LimitNOFILE of its service, or ulimit -n")
        if number == errno.ENFILE:
            return cls("no process of this machine can open more files; raise the sysctl fs.file-max, or find who holds them")
        if isinstance(error, MemoryError) or number == errno.ENOMEM:
            return cls("there is no memory left for this process; raise the memory limit of its container, or free memory of the machine")
        if number == errno.EAGAIN:
            return cls("the kernel has no resources left for this process (Resource temporarily unavailable); see its limits and ulimit -a")
        return cls("this process may not start more threads; raise the pids limit of its container, TasksMax of its service, or ulimit -u")


def is_shortage(error: BaseException) -> bool:
    """Whether the error says that this process or the machine lacks something, and nothing of what was looked at."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in SHORTAGES)


class FolderUnusable(NpuAgentError):
    """A folder of the agent's own, or a file in it, cannot be used; the text says which, what was found there, and what to do."""


class AlreadyRunning(NpuAgentError):
    """Another agent is there; the text says which and what to do."""
