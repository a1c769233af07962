"""What to do next about kubelet: from what is seen now to one step. Level-triggered, so no event can be missed for good."""

from dataclasses import dataclass
from enum import Enum

NOTICE_S = 1.0
"""Seconds that kubelet gets to close the connection of a stream that ended, before we register again in spite of it."""

SETTLE_S = 0.15
"""Seconds between the end of kubelet's connection and the next Register while kubelet is the same: up to 1.36 the end of an old
stream takes a newer registration down with it, and kubelet is done with the end only a moment after it closed the connection."""

STREAM_EXPECTED_S = 3.0
"""Seconds after a Register that kubelet accepted within which it opens its stream."""

SHORT_LIVED_S = 1.0
"""A stream that ends younger than this counts as a failure, so that a kubelet that keeps dropping us is not called in a tight loop."""

FIRST_RETRY_S = 0.1
MAX_RETRY_S = 10.0
MAX_DROPPED_RETRY_S = 1.0
UNREACHABLE_FIRST_RETRY_S = 0.005
UNREACHABLE_MAX_RETRY_S = 1.0


class Folder(Enum):
    """What is at the path of kubelet's folder of device plugins."""

    PRESENT = "present"
    MISSING = "missing"
    UNUSABLE = "unusable"
    """It cannot be looked at, or is no folder; `Facts.trouble` says why."""
    UNLINKED = "unlinked"
    """It is deleted, and only our mount keeps it: nothing will ever be seen in it again."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is seen at one moment. Times are in seconds of one monotonic clock.

    `kubelet` identifies the socket file of kubelet that is there now (device, inode, time of change), None if there is none.
    `attempted` is the one at which we last tried to register, None before the first try. `accepted` says that this try succeeded.
    Streams and connections are those of the socket that we then registered. `trouble` says why the folder or kubelet's socket cannot
    be looked at. `lost` says that kubelet does not have our devices although our stream is up: somebody else's registration took ours
    down.
    """

    now: float
    folder: Folder
    kubelet: tuple[int, int, int] | None
    attempted: tuple[int, int, int] | None = None
    attempted_at: float = 0.0
    accepted: bool = False
    retry_at: float = 0.0
    streams: int = 0
    streams_seen: int = 0
    stream_ended_at: float = 0.0
    connections: int = 0
    connections_ended_at: float = 0.0
    own_socket_there: bool = True
    trouble: str = ""
    lost: bool = False


class Step(Enum):
    """What the link does next."""

    WAIT = "wait"
    REGISTER = "register"
    """End what there is of an older registration and register anew."""
    RESTORE_SOCKET = "restore the socket"
    EXIT = "exit"


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, why, and for WAIT how long at the most, in seconds (None: until something changes).

    `registered` says whether kubelet has us: it holds a stream of ours. `is_problem` says whether somebody has to do something.
    """

    step: Step
    reason: str = ""
    wait_s: float | None = None
    registered: bool = False
    is_problem: bool = False


def decide(facts: Facts) -> Decision:
    """Return the next step. Each branch is a row of docs/kubelet.md, "What can happen to the link"."""
    if facts.streams > 0:
        return _decide_with_stream(facts)
    if facts.folder is Folder.UNLINKED:
        return Decision(Step.EXIT, "the folder was deleted below our mount")
    if facts.trouble:
        return Decision(Step.WAIT, facts.trouble, is_problem=True)
    if facts.kubelet is None:
        missing = facts.folder is Folder.MISSING
        return Decision(Step.WAIT, f"kubelet's {'folder' if missing else 'socket'} is not there: kubelet has not started")
    if facts.kubelet != facts.attempted:
        return Decision(Step.REGISTER, "kubelet is new")
    due, reason = facts.retry_at, ""  # after a failed try its error stays the reason
    if facts.streams_seen:
        reason = "kubelet ended its stream"
        due = max(due, facts.stream_ended_at + NOTICE_S if facts.connections else facts.connections_ended_at + SETTLE_S)
    elif facts.accepted:
        reason = "kubelet accepted the registration and has not opened its stream"
        due = max(due, facts.attempted_at + STREAM_EXPECTED_S if facts.connections else facts.connections_ended_at + SETTLE_S)
    if facts.now < due:
        return Decision(Step.WAIT, reason, due - facts.now)
    return Decision(Step.REGISTER, reason)


def _decide_with_stream(facts: Facts) -> Decision:
    """Decide while kubelet holds a stream of ours, which is what counts: it serves us whatever became of the files."""
    if facts.folder is Folder.UNLINKED:
        return Decision(Step.WAIT, "the folder was deleted below our mount; the agent ends when this kubelet does", registered=True)
    if facts.trouble:
        return Decision(Step.WAIT, f"{facts.trouble}; this kubelet serves us until it ends", registered=True)
    if facts.kubelet is None:
        return Decision(Step.WAIT, "kubelet's socket is not there; this kubelet serves us until it ends", registered=True)
    if facts.kubelet != facts.attempted:
        return Decision(Step.REGISTER, "kubelet is new")
    if facts.lost:
        return Decision(Step.REGISTER, "another registration took ours down, and kubelet does not have our devices")
    return Decision(Step.WAIT if facts.own_socket_there else Step.RESTORE_SOCKET, registered=True)


def backoff(failures: int, *, first_s: float, max_s: float, random: float) -> float:
    """Return the seconds to wait after `failures` (≥ 1) failures in a row: doubling, bounded, and spread by up to half.

    `random` is a number from 0 to 1. Nodes that lost their kubelets together must not come back in step.
    """
    full = min(max_s, first_s * 2.0 ** min(failures - 1, 30))
    return full * (0.5 + random / 2)
