from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.deviceplugin.reconcile import NOTICE_S, SETTLE_S, STREAM_EXPECTED_S, Decision, Facts, Folder, Step, backoff, decide

OLD = (1, 10, 100)
NEW = (1, 10, 200)  # the same inode, made at another time

AT_EASE = Facts(
    now=50.0, folder=Folder.PRESENT, kubelet=OLD, attempted=OLD, attempted_at=1.0, accepted=True, streams=1, streams_seen=1, connections=1
)


def decided(**changes: object) -> Decision:
    return decide(replace(AT_EASE, **changes))  # type: ignore[arg-type]


def test_nothing_is_done_while_kubelet_holds_our_stream() -> None:
    assert decided() == Decision(Step.WAIT, registered=True)


def test_a_kubelet_that_has_not_started_is_waited_for() -> None:
    decision = decided(kubelet=None, attempted=None, streams=0)
    assert decision.step is Step.WAIT
    assert decision.wait_s is None
    assert "kubelet has not started" in decision.reason


def test_a_folder_that_is_not_there_is_waited_for() -> None:
    assert "folder is not there" in decided(folder=Folder.MISSING, kubelet=None, streams=0).reason


@pytest.mark.parametrize("streams", [0, 1])
def test_a_new_kubelet_is_registered_with_at_once_even_with_the_same_inode(streams: int) -> None:
    assert decided(kubelet=NEW, streams=streams, retry_at=99.0).step is Step.REGISTER


def test_a_stream_that_ended_is_given_time_until_kubelet_closed_its_connection() -> None:
    lost = {"now": 0.0, "streams": 0, "stream_ended_at": 0.0}
    assert decided(**lost, connections=1) == Decision(Step.WAIT, "kubelet ended its stream", NOTICE_S)
    assert decided(**lost, connections=0) == Decision(Step.WAIT, "kubelet ended its stream", SETTLE_S)
    assert decided(**{**lost, "now": SETTLE_S}, connections=0).step is Step.REGISTER
    assert decided(**{**lost, "now": 0.5}, connections=0, connections_ended_at=0.5).wait_s == pytest.approx(SETTLE_S)
    assert decided(**{**lost, "now": NOTICE_S}, connections=1).step is Step.REGISTER


def test_a_registration_without_a_stream_is_made_again() -> None:
    silent = {"streams": 0, "streams_seen": 0, "attempted_at": 50.0, "connections_ended_at": 49.0}
    assert decided(**silent).wait_s == STREAM_EXPECTED_S
    assert decided(**silent, now=50.0 + STREAM_EXPECTED_S).step is Step.REGISTER


def test_a_registration_whose_connection_is_lost_before_the_stream_is_made_again_without_waiting_for_it() -> None:
    lost = {"now": 0.0, "streams": 0, "streams_seen": 0, "attempted_at": 0.0, "connections": 0}
    assert decided(**lost).wait_s == SETTLE_S


def test_a_failed_registration_is_tried_again_when_it_is_due() -> None:
    failed = {"streams": 0, "streams_seen": 0, "accepted": False, "retry_at": 51.0}
    assert decided(**failed) == Decision(Step.WAIT, "", 1.0)
    assert decided(**failed, now=51.0).step is Step.REGISTER


def test_a_register_that_failed_after_kubelet_opened_its_stream_counts_as_registered() -> None:
    assert decided(accepted=False, retry_at=99.0) == Decision(Step.WAIT, registered=True)


def test_our_socket_file_is_made_again_without_a_new_registration() -> None:
    assert decided(own_socket_there=False) == Decision(Step.RESTORE_SOCKET, registered=True)


def test_a_deleted_mount_ends_the_agent_but_not_before_its_kubelet_does() -> None:
    held = decided(folder=Folder.UNLINKED, kubelet=None)
    assert (held.step, held.registered) == (Step.WAIT, True)
    assert decided(folder=Folder.UNLINKED, kubelet=None, streams=0).step is Step.EXIT


@given(
    st.builds(
        Facts,
        now=st.floats(0, 100),
        folder=st.sampled_from(Folder),
        kubelet=st.sampled_from([None, OLD, NEW]),
        attempted=st.sampled_from([None, OLD, NEW]),
        attempted_at=st.floats(0, 100),
        accepted=st.booleans(),
        retry_at=st.floats(0, 100),
        streams=st.integers(0, 2),
        streams_seen=st.integers(0, 3),
        stream_ended_at=st.floats(0, 100),
        connections=st.integers(0, 2),
        connections_ended_at=st.floats(0, 100),
        own_socket_there=st.booleans(),
    )
)
def test_whatever_is_seen_a_wait_ends_by_itself_or_has_a_change_to_wait_for(facts: Facts) -> None:
    decision = decide(facts)
    if decision.step is Step.WAIT and decision.wait_s is None:
        assert facts.streams or facts.kubelet is None
    if decision.wait_s is not None:
        assert decision.wait_s > 0
        later = decide(replace(facts, now=facts.now + decision.wait_s + 0.001))
        assert later.step is Step.REGISTER


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_backoff_is_bounded_and_never_zero(failures: int, random: float) -> None:
    assert 0.05 <= backoff(failures, first_s=0.1, max_s=10.0, random=random) <= 10.0
