"""What can be wrong with a family description."""

from typing import ClassVar

from npu_agent.core.errors import USAGE, NpuAgentError


class FamilyError(NpuAgentError):
    """A family description is wrong. The text names the file, the field and the reason."""

    exit_status: ClassVar[int] = USAGE
