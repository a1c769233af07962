"""What a probe is told, from a node state and registrations."""

import pytest

from npu_agent.core.health import Health
from npu_agent.core.planning import Plan
from npu_agent.core.pool import Device, Pool
from npu_agent.core.probing import Verdict, readiness, standings
from npu_agent.core.registration import Registration, RegistrationState
from npu_agent.core.state import NodeState, Problem

NPU, WARBOY = "furiosa.ai/npu", "furiosa.ai/warboy"
REGISTERED = Registration(RegistrationState.REGISTERED, "")


def state(problem: str = "", **devices: int) -> NodeState:
    """A node state with so many devices, none of them well, of `npu` and `warboy`."""
    sick = Health(healthy=False, reason="too hot", since=0)
    pools = {
        f"furiosa.ai/{name}": Pool(f"furiosa.ai/{name}", tuple(Device(f"d{n}", f"d{n}", sick) for n in range(count)))
        for name, count in devices.items()
    }
    problems = {"kubelet's folder": Problem("kubelet's folder", problem, 0)} if problem else {}
    return NodeState(plan=Plan(pools), problems=problems)


def test_an_agent_that_has_not_looked_at_its_node_is_not_ready() -> None:
    assert readiness(NodeState(), None) == Verdict(False, ("the node has not been looked at yet",))


@pytest.mark.parametrize("empty", [state(), state(npu=0)], ids=["no resource", "no device"])
def test_a_node_without_accelerators_is_ready_and_says_so(empty: NodeState) -> None:
    assert readiness(empty, {}) == Verdict(True, ("no resource has devices on this node",))


def test_devices_that_are_all_sick_keep_nobody_from_being_ready() -> None:
    assert readiness(state(npu=2), {NPU: REGISTERED}) == Verdict(True, ("furiosa.ai/npu (2 devices) is registered",))


def test_a_resource_that_is_not_registered_is_named_with_the_reason_beside_those_that_are() -> None:
    waiting = Registration(RegistrationState.WAITING, "kubelet ended its stream")
    assert readiness(state(warboy=2, npu=1), {NPU: waiting, WARBOY: REGISTERED}) == Verdict(
        False, ("furiosa.ai/npu (1 device) is not registered: kubelet ended its stream", "furiosa.ai/warboy (2 devices) is registered")
    )


def test_a_resource_without_devices_need_not_be_registered() -> None:
    verdict = readiness(state(npu=1, warboy=0), {NPU: REGISTERED, WARBOY: Registration(reason="kubelet is new")})
    assert verdict == Verdict(True, ("furiosa.ai/npu (1 device) is registered",))


def test_a_resource_that_is_offered_to_nobody_has_the_reason_of_the_agent() -> None:
    offered_to_nobody = readiness(state(npu=1, problem="another agent (process 7) serves it"), {})
    line = "furiosa.ai/npu (1 device) is not offered to kubelet: another agent (process 7) serves it"
    assert offered_to_nobody == Verdict(False, (line,))
    (line,) = readiness(state(npu=1), {}).lines
    assert line == "furiosa.ai/npu (1 device) is not offered to kubelet: it has no link to kubelet at the moment; see the log"


def test_each_resource_has_a_standing_of_its_own_with_devices_or_without() -> None:
    told = standings(state(warboy=0, npu=1), {WARBOY: REGISTERED, NPU: Registration(RegistrationState.REGISTERING, "")})
    assert told == {
        NPU: Verdict(False, ("furiosa.ai/npu (1 device) is not registered",)),
        WARBOY: Verdict(True, ("furiosa.ai/warboy (0 devices) is registered",)),
    }
    assert standings(state(npu=1), None)[NPU].passed is False


def test_what_others_say_is_made_printable_and_short() -> None:
    long = "\x1b[2J" + "x" * 5000
    for verdict in (readiness(state(npu=1), {NPU: Registration(reason=long)}), readiness(state(npu=1, problem=long), {})):
        (line,) = verdict.lines
        assert line.isprintable()
        assert len(line) == 1000
