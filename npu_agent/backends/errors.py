"""What can be wrong with a backend."""

from collections.abc import Sequence
from typing import ClassVar

from npu_agent.core.errors import USAGE, NpuAgentError
from npu_agent.schema.mistakes import MAX_MISTAKES, Mistake


class BackendError(NpuAgentError):
    """A backend cannot do what was asked; the text says what to do."""

    exit_status: ClassVar[int] = USAGE


class OptionError(BackendError):
    """Options of a backend are unknown or wrong.

    `path` names the field below the backend's options, such as `accelerators[0].id`. There may be more `mistakes` than this one.
    """

    def __init__(self, path: str, message: str, *others: Mistake) -> None:
        self.mistakes = (Mistake(path, message), *others)
        super().__init__("; ".join(map(str, self.mistakes[:MAX_MISTAKES])))
        self.path = path
        self.message = message

    @classmethod
    def of(cls, mistakes: Sequence[Mistake]) -> "OptionError":
        """Return the error that says `mistakes`, at least one."""
        first, *others = mistakes
        return cls(first.path, first.message, *others)
