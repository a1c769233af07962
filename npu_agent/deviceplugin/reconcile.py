"""What to do next about kubelet: from what is seen now to one step. Level-triggered, so no event can be missed for good."""

from dataclasses import dataclass
from enum import Enum

NOTICE_S = 1.0
"""Seconds that kubelet gets to close the connection of a stream that ended, before we register again in spite of it."""

NOTICE_LOST_S = 0.3
"""The same of a kubelet that has lost our registration: up to 1.36 it never closes that connection."""

SETTLE_S = 0.15
"""Seconds between the end of kubelet's connection and the next Register while kubelet is the same: up to 1.36 the end of an old
stream takes a newer registration down with it, and kubelet is done with the end only a moment after it closed the connection."""

STREAM_EXPECTED_S = 3.0
"""Seconds after a Register that kubelet accepted within which it opens its stream."""

SHORT_LIVED_S = 1.0
"""A stream that ends younger than this counts as a failure, so that a kubelet that keeps dropping us is not called in a tight loop."""

MANY_DROPS = 3
"""Short-lived streams in a row from which on it is a problem, and no news any more."""

MANY_HEALS = 3
"""Registrations in a row, made because kubelet did not have what it was told, from which on they are no cure and come seldom."""

FIRST_RETRY_S = 0.1
MAX_RETRY_S = 10.0
FIRST_HEAL_AGAIN_S = 60.0
MAX_HEAL_AGAIN_S = 3600.0
MAX_DROPPED_RETRY_S = 1.0
UNREACHABLE_FIRST_RETRY_S = 0.005
UNREACHABLE_MAX_RETRY_S = 1.0


class Folder(Enum):
    """What is at the path of kubelet's folder of device plugins."""

    PRESENT = "present"
    MISSING = "missing"
    UNLINKED = "unlinked"
    """It is deleted, and only our mount keeps it: nothing will ever be seen in it again."""
    DENIED = "denied"
    """We may not look into it."""
    NOT_A_FOLDER = "not a folder"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Facts:
    """What is seen at one moment. Times are in seconds of one monotonic clock.

    `kubelet` identifies the socket file of kubelet that is there now (device, inode, time of change), None if there is none, and
    `obstacle` says what keeps us from seeing it. `attempted` is the one at which we last tried to register, None before the first
    try. `accepted` says that this try succeeded. Streams and connections are those of the socket that we then registered, `drops`
    the short-lived streams in a row. `outdated` says that kubelet was told other options than those of now. `path` is kubelet's folder
    of device plugins.

    `lost` says that kubelet does not have what it was told although our stream is up, `stranger` who serves the resource in our
    place, and `heals` and `healed_at` how often in a row, and when last, we registered for that reason.
    """

    now: float
    folder: Folder
    kubelet: tuple[int, int, int] | None
    obstacle: str = ""
    attempted: tuple[int, int, int] | None = None
    attempted_at: float = 0.0
    accepted: bool = False
    retry_at: float = 0.0
    streams: int = 0
    streams_seen: int = 0
    stream_up_at: float = 0.0
    stream_ended_at: float = 0.0
    drops: int = 0
    connections: int = 0
    connections_ended_at: float = 0.0
    own_socket_there: bool = True
    restore_at: float = 0.0
    outdated: bool = False
    lost: bool = False
    stranger: str = ""
    heals: int = 0
    healed_at: float = 0.0
    path: str = ""


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

    `registered` says whether kubelet has us: it holds a stream of ours. `problem` says that the reason is one that somebody has to see
    to. `heals` says that we register because kubelet lost us.
    """

    step: Step
    reason: str = ""
    wait_s: float | None = None
    registered: bool = False
    problem: bool = False
    heals: bool = False


DROPPED = "kubelet ends our streams as soon as they begin; see its log"


def decide(facts: Facts) -> Decision:
    """Return the next step. Each branch is a row of docs/kubelet.md, "What can happen to the link"."""
    if facts.streams > 0:
        return _decide_with_stream(facts)
    if facts.folder is Folder.UNLINKED:
        return Decision(Step.EXIT, "the folder was deleted below our mount")
    if facts.obstacle:
        return Decision(Step.WAIT, facts.obstacle, problem=True)
    if facts.kubelet is None:
        missing = (
            f"kubelet's folder {facts.path} is not there" if facts.folder is Folder.MISSING else f"kubelet's socket is not in {facts.path}"
        )
        return Decision(Step.WAIT, f"{missing}: kubelet has not started, or has another folder (--kubelet-dir)")
    if facts.kubelet != facts.attempted:
        return Decision(Step.REGISTER, "kubelet is new")
    due, reason = facts.retry_at, ""  # after a failed try its error stays the reason
    if facts.streams_seen:
        reason = DROPPED if facts.drops >= MANY_DROPS else "kubelet ended its stream"
        due = max(due, facts.stream_ended_at + NOTICE_S if facts.connections else facts.connections_ended_at + SETTLE_S)
    elif facts.accepted:
        reason = "kubelet accepted the registration and has not opened its stream"
        due = max(due, facts.attempted_at + STREAM_EXPECTED_S if facts.connections else facts.connections_ended_at + SETTLE_S)
    if facts.now < due:
        return Decision(Step.WAIT, reason, due - facts.now, problem=reason == DROPPED)
    return Decision(Step.REGISTER, reason)


def _decide_with_stream(facts: Facts) -> Decision:
    """Decide while kubelet holds a stream of ours, which is what counts: it serves us whatever became of the files."""
    if facts.folder is Folder.UNLINKED:
        reason = "the folder was deleted below our mount; the agent ends when this kubelet does"
        return Decision(Step.WAIT, reason, registered=True, problem=True)
    if facts.obstacle:
        return Decision(Step.WAIT, facts.obstacle, registered=True, problem=True)
    if facts.kubelet is None:
        return Decision(Step.WAIT, "kubelet's socket is not there; this kubelet serves us until it ends", registered=True)
    if facts.kubelet != facts.attempted:
        return Decision(Step.REGISTER, "kubelet is new")
    if facts.lost:
        return _decide_on_loss(facts)
    if facts.outdated:
        return Decision(Step.REGISTER, "what the agent offers has changed")
    if not facts.own_socket_there:
        if facts.now < facts.restore_at:
            return Decision(Step.WAIT, wait_s=facts.restore_at - facts.now, registered=True)
        return Decision(Step.RESTORE_SOCKET, registered=True)
    lasts_s = facts.stream_up_at + SHORT_LIVED_S - facts.now
    if facts.drops >= MANY_DROPS and lasts_s > 0:
        return Decision(Step.WAIT, DROPPED, lasts_s, registered=True, problem=True)
    return Decision(Step.WAIT, registered=True)


def _decide_on_loss(facts: Facts) -> Decision:
    """Decide while kubelet holds our stream and does not have what it was told. Who stays is told of and not fought."""
    if facts.stranger:
        reason = (
            f"another device plugin serves this resource: {facts.stranger}; kubelet hands out its devices and not ours. End it, or have"
            " it offer another resource"
        )
        return Decision(Step.WAIT, reason, problem=True)
    if facts.heals >= MANY_HEALS:
        again_s = min(FIRST_HEAL_AGAIN_S * 2.0 ** min(facts.heals - MANY_HEALS, 30), MAX_HEAL_AGAIN_S)
        if facts.now < facts.healed_at + again_s:
            reason = "kubelet has other devices of this resource than it was told, also after it was told anew; see its log"
            return Decision(Step.WAIT, reason, facts.healed_at + again_s - facts.now, problem=True)
    return Decision(Step.REGISTER, "kubelet has lost our registration: somebody else registered this resource", heals=True)


def backoff(failures: int, *, first_s: float, max_s: float, random: float) -> float:
    """Return the seconds to wait after `failures` (≥ 1) failures in a row: doubling, bounded, and spread by up to half.

    `random` is a number from 0 to 1. Nodes that lost their kubelets together must not come back in step.
    """
    full = min(max_s, first_s * 2.0 ** min(failures - 1, 30))
    return full * (0.5 + random / 2)
