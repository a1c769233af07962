"""How a resource stands with kubelet, and who holds its devices, as values that people are shown."""

from dataclasses import dataclass
from enum import StrEnum


class RegistrationState(StrEnum):
    """How far a resource has come with kubelet."""

    WAITING = "waiting"
    REGISTERING = "registering"
    REGISTERED = "registered"
    """kubelet holds our stream."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Registration:
    """How one resource stands with kubelet.

    `since` is when the state began, in seconds since the epoch. `endpoint` is the file name of the socket that kubelet was told.
    """

    state: RegistrationState = RegistrationState.WAITING
    reason: str = "starting"
    since: float = 0.0
    endpoint: str = ""
    registrations: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Holder:
    """The container that kubelet gave a device to."""

    namespace: str
    pod: str
    container: str
