"""What can go wrong with specs of CDI."""

from npu_agent.core.errors import NpuAgentError


class SpecUnwritable(NpuAgentError):
    """A spec cannot be written, or not be read back."""
