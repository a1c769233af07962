"""What can go wrong between us and the machine."""

import errno

from npu_agent.core.errors import NpuAgentError

SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""Errors that say that this process or the machine lacks files, memory or threads, and nothing of the card that was read."""


class ShortOfResources(NpuAgentError):
    """This process cannot open a file, start a thread or get memory. The text names the limit; it says nothing of any card."""


class FolderUnusable(NpuAgentError):
    """A folder of the agent's own, or a file in it, cannot be used; the text says which, what was found there, and what to do."""


class AlreadyRunning(NpuAgentError):
    """Another agent is there; the text says which and what to do."""
