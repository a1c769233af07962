"""What cannot be seen of who uses devices."""

from npu_agent.core.errors import USAGE, NpuAgentError


class HoldersUnknown(NpuAgentError):
    """kubelet could not be asked who holds what; the text says why and what to do."""


class HttpAddressWrong(NpuAgentError):
    """The address on which HTTP is to be served is none; the text says how one is written."""

    exit_status = USAGE
