"""The root of all errors that the agent tells people, with the exit status of the command that ends with one."""

from typing import ClassVar

FAILURE = 1
USAGE = 2


class NpuAgentError(Exception):
    """Something cannot be done; the text names what was looked at, what was found, and what to do."""

    exit_status: ClassVar[int] = FAILURE
    """What the command line ends with: FAILURE, or USAGE for a wrong option or configuration."""


class AllocationError(NpuAgentError):
    """Devices cannot be given to a container. kubelet shows the text in the status of the pod that it rejects."""


class CommandRefused(NpuAgentError):
    """A backend cannot carry out a command; the text is for whoever asked."""
