"""What can go wrong at the simulated kubelet, in kubelet's own words where it has them."""

from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

UNEXPECTED_ADMISSION_ERROR = "UnexpectedAdmissionError"


class SimulatorError(Exception):
    """Base of all errors of the simulated kubelet."""


class KubeletNotRunning(SimulatorError):
    """It was asked for something that only a running kubelet does."""


class DeviceError(SimulatorError):
    """The device manager cannot do what was asked; the text is kubelet's."""


class PodRejected(SimulatorError):
    """The pod was not admitted. `reason` and `message` are those of its status."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


def go_text(error: Exception) -> str:
    """Return what the gRPC library of Go, and so kubelet, prints for an error of a call."""
    if isinstance(error, GRPCError):
        return f"rpc error: code = {_go_name(error.status)} desc = {error.message or ''}"
    if isinstance(error, TimeoutError):
        return "rpc error: code = DeadlineExceeded desc = context deadline exceeded"
    if isinstance(error, (StreamTerminatedError, ConnectionError)):
        return "rpc error: code = Unavailable desc = error reading from server: EOF"
    return f"rpc error: code = Unavailable desc = connection error: {error}"


def _go_name(status: Status) -> str:
    return "OK" if status is Status.OK else "".join(word.capitalize() for word in status.name.split("_")).replace("Cancelled", "Canceled")
