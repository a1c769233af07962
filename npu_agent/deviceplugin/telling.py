"""What the link of one resource says: facts to the log, and problems for as long as they last."""

import logging
from collections.abc import Callable

log = logging.getLogger(__name__)


class Telling:
    """Says what happens to `resource`. `tell` takes all that is wrong now as one text, an empty one once nothing is."""

    def __init__(self, resource: str, tell: Callable[[str], None]) -> None:
        self._resource = resource
        self._tell = tell
        self._problems: dict[str, str] = {}

    def problem(self, kind: str, text: str) -> None:
        """Say what is wrong of a kind, by an empty text that nothing of it is any more."""
        if self._problems.get(kind, "") != text:
            self._problems[kind] = text
            self._tell("; ".join(filter(None, self._problems.values())))

    def end(self) -> None:
        """Say that whatever was wrong is nobody's concern any more."""
        self._problems.clear()
        self._tell("")

    def fact(self, level: int, event: str, text: str, **fields: object) -> None:
        """Write a fact to the log; event and fields are those of the JSON form."""
        log.log(level, "%s: %s", self._resource, text, extra={"event": event, "fields": {"resource": self._resource, **fields}})
