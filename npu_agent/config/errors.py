"""What can be wrong with a configuration."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from npu_agent.core.errors import USAGE, NpuAgentError
from npu_agent.schema.mistakes import Lines, Mistake, report

if TYPE_CHECKING:
    from npu_agent.config.configuration import Configuration


class ConfigurationError(NpuAgentError):
    """A configuration cannot be used. Each of `mistakes` has the path of a field and what is expected there.

    `right` is the configuration with what is right in it, for finding what else is wrong; None where nothing of it could be read.
    """

    exit_status: ClassVar[int] = USAGE

    def __init__(self, place: str, mistakes: Sequence[Mistake], lines: Lines | None = None, right: "Configuration | None" = None) -> None:
        self.mistakes = tuple(mistakes)
        self.right = right
        super().__init__(report(place, self.mistakes, lines))
