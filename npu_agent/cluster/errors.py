"""What can be wrong with the API server, and with the way there."""

from npu_agent.core.errors import NpuAgentError


class ClusterError(NpuAgentError):
    """The cluster cannot be told of the node now."""


class AccessMissing(ClusterError):
    """It is not known where the API server is, or who we are to it."""


class ApiUnreachable(ClusterError):
    """The API server did not answer, or not in a way that can be understood."""


class ApiRefused(ClusterError):
    """The API server answered that it will not.

    `status` is that of HTTP. `retry_after_s` is how long it wants to be left alone, 0 where it does not say.
    """

    def __init__(self, text: str, status: int, retry_after_s: float = 0.0) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s


class FeatureFileUnwritable(ClusterError):
    """The folder of NFD's feature files cannot be written to."""
