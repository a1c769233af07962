"""What can be wrong with a backend."""

from typing import ClassVar

from npu_agent.core.errors import USAGE, NpuAgentError


class BackendError(NpuAgentError):
    """A backend cannot do what was asked; the text says what to do."""

    exit_status: ClassVar[int] = USAGE


class OptionError(BackendError):
    """An option of a backend is unknown or wrong. `path` names the field below the backend's options, such as `accelerators[0].id`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message
