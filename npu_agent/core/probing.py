"""What probes are told: whether the agent does what it is for, and what keeps it from that."""

from collections.abc import Mapping
from dataclasses import dataclass

from npu_agent.core.pool import Pool
from npu_agent.core.registration import Registration, RegistrationState
from npu_agent.core.state import NodeState
from npu_agent.core.text import printable

FOLDER_SOURCE = "kubelet's folder"
"""The source of the problem that nothing is offered to kubelet, because another agent serves it."""

MOST_OF_A_LINE = 1000
"""Characters of a line."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer to a probe: whether it passes, and a sentence for each thing that was looked at and is worth one."""

    passed: bool
    lines: tuple[str, ...] = ()


def readiness(state: NodeState, registrations: Mapping[str, Registration] | None) -> Verdict:
    """Return whether kubelet has all resources that have devices.

    `registrations` are those of the resources that have a link, None before the node has been looked at once. Neither a sick card nor
    a node without accelerators keeps the agent from being ready: there is nothing that it could do better.
    """
    if registrations is None:
        return Verdict(False, ("the node has not been looked at yet",))
    resources = standings(state, registrations)
    lines = tuple(line for name, verdict in resources.items() if state.plan.pools[name].devices for line in verdict.lines)
    passed = all(verdict.passed for name, verdict in resources.items() if state.plan.pools[name].devices)
    return Verdict(passed, lines or ("no resource has devices on this node",))


def standings(state: NodeState, registrations: Mapping[str, Registration] | None) -> Mapping[str, Verdict]:
    """Return for each resource of the configuration whether kubelet has it, by its name."""
    folder = state.problems.get(FOLDER_SOURCE)
    absent = folder.text if folder else "it has no link to kubelet at the moment; see the log"
    return {name: _standing(pool, (registrations or {}).get(name), absent) for name, pool in sorted(state.plan.pools.items())}


def _standing(pool: Pool, registration: Registration | None, absent: str) -> Verdict:
    count = f"{len(pool.devices)} device{'' if len(pool.devices) == 1 else 's'}"
    if registration is None:
        return Verdict(False, (printable(f"{pool.resource} ({count}) is not offered to kubelet: {absent}", MOST_OF_A_LINE),))
    if registration.state is RegistrationState.REGISTERED:
        return Verdict(True, (f"{pool.resource} ({count}) is registered",))
    reason = f": {registration.reason}" if registration.reason else ""
    return Verdict(False, (printable(f"{pool.resource} ({count}) is not registered{reason}", MOST_OF_A_LINE),))
