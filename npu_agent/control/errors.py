"""What can go wrong between the agent and whoever asks it."""

from npu_agent.core.errors import NpuAgentError


class SocketUnusable(NpuAgentError):
    """The agent's own socket cannot be made; the text says where, why, and what to do."""


class AgentUnreachable(NpuAgentError):
    """No agent answers on its socket; the text names the socket and the reason."""


class AgentRefused(NpuAgentError):
    """The agent answered that it cannot do what was asked; the text is the agent's."""
