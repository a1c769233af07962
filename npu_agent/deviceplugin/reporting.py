"""How a link says what happens: lines of the log with stable names, and one problem for as long as it lasts."""

import logging
from collections.abc import Callable
from enum import Enum, StrEnum

log = logging.getLogger(__name__)


class Event(StrEnum):
    """The names of what is logged. They are part of what the agent promises: programs read them."""

    REGISTERED = "resource_registered"
    WAITING = "resource_waiting"
    STREAM_ENDED = "resource_stream_ended"
    REGISTRATION_LOST = "resource_registration_lost"
    SOCKET_RESTORED = "resource_socket_restored"
    SOCKET_LEFT = "resource_socket_left"


def say(level: int, event: Event, text: str, **fields: str | int) -> None:
    """Log `text`, for people, with the name and the fields that programs read. `resource` is among them, and stands before the text."""
    log.log(level, "%s: %s", fields["resource"], text, extra={"event": str(event), "fields": fields})


class Subject(Enum):
    """What a problem of a resource can be about. Each has one at most."""

    KUBELET = "kubelet"
    SOCKET = "socket"
    LIST = "list"


class Problems:
    """What somebody has to see to about one resource, told when it begins, changes and ends, and not in between."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._texts: dict[Subject, str] = {}

    @property
    def text(self) -> str:
        """All of it, empty if there is nothing."""
        return "; ".join(text for _, text in sorted(self._texts.items(), key=lambda item: item[0].value) if text)

    def put(self, subject: Subject, text: str) -> None:
        """Say what is wrong with `subject`, or by an empty text that it is well."""
        before = self.text
        self._texts[subject] = text
        if self.text != before:
            self._tell(self.text)
