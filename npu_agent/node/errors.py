"""What can go wrong while the node is looked after."""

from npu_agent.core.errors import NpuAgentError


class BackendFailed(NpuAgentError):
    """A backend raised, hung or answered nonsense at one of its seams. The text names the backend, the seam and what happened."""
