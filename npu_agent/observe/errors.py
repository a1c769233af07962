"""What cannot be seen of who uses devices."""

from npu_agent.core.errors import NpuAgentError


class HoldersUnknown(NpuAgentError):
    """kubelet could not be asked who holds what; the text says why and what to do."""
