"""What can be wrong with family descriptions."""

from collections.abc import Sequence
from typing import ClassVar

from npu_agent.core.errors import USAGE, NpuAgentError
from npu_agent.core.text import printable
from npu_agent.schema.mistakes import MAX_MESSAGE, Lines, Mistake, report, told


class FamilyError(NpuAgentError):
    """Family descriptions are wrong. The text names the file, the field and the reason; `told` has a line for each mistake."""

    exit_status: ClassVar[int] = USAGE

    def __init__(self, text: str, told: Sequence[str]) -> None:
        super().__init__(text)
        self.told = tuple(told)

    @classmethod
    def at(cls, place: str, mistakes: Sequence[Mistake], lines: Lines | None = None) -> "FamilyError":
        """Return the error that says `mistakes` (at least one) of the file or folder `place`."""
        return cls(report(place, mistakes, lines), [f"{printable(place, MAX_MESSAGE)}: {said}" for said in told(mistakes, lines)])

    @classmethod
    def joined(cls, errors: Sequence["FamilyError"]) -> "FamilyError":
        """Return `errors` as one."""
        return cls("\n".join(map(str, errors)), [said for error in errors for said in error.told])
