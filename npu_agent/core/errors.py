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


def alone(error: BaseException) -> BaseException:
    """Return the first error of ours in a group of errors, else the group: a fault of ours is told with all of it."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    expected = error.subgroup(NpuAgentError)
    if expected is None:
        return error
    first: BaseException = expected
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first
