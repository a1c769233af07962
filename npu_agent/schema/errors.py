"""What can be wrong with a document."""

from typing import ClassVar

from npu_agent.core.errors import USAGE, NpuAgentError


class DocumentError(NpuAgentError):
    """A text is no YAML document that we take. `line` counts from 1 and is 0 where the whole is meant."""

    exit_status: ClassVar[int] = USAGE

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(f"line {line}: {message}" if line else message)
        self.message = message
        self.line = line
