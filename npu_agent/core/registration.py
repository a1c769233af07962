"""How a resource stands with kubelet, and who holds its devices, as values that people are shown."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Registration:
    """How one resource stands with kubelet.

    `state` is "registered" (kubelet holds our stream), "registering", "waiting" or "stopped". `since` is when it began, in seconds
    since the epoch. `endpoint` is the file name of the socket that kubelet was told. `problem` is what the list of devices cannot
    say, such as that it is too large for kubelet.
    """

    state: str = "waiting"
    reason: str = "starting"
    since: float = 0.0
    endpoint: str = ""
    registrations: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True, order=True)
class Holder:
    """The container that kubelet gave a device to."""

    namespace: str
    pod: str
    container: str
