from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.deviceplugin.reconcile import (
    DROPPED,
    MANY_DROPS,
    MANY_HEALS,
    NOTICE_S,
    SETTLE_S,
    STREAM_EXPECTED_S,
    Decision,
    Facts,
    Folder,
    Step,
    backoff,
    decide,
)

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
    reason = decided(folder=Folder.MISSING, kubelet=None, streams=0, path="/k").reason
    assert reason == "kubelet's folder /k is not there: kubelet has not started, or has another folder (--kubelet-dir)"


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
    reason = "kubelet accepted the registration and has not opened its stream"
    assert decided(**silent) == Decision(Step.WAIT, reason, STREAM_EXPECTED_S)
    assert decided(**silent, now=50.0 + STREAM_EXPECTED_S) == Decision(Step.REGISTER, reason)


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


@pytest.mark.parametrize("folder", [Folder.DENIED, Folder.NOT_A_FOLDER, Folder.UNREADABLE])
def test_what_keeps_us_from_seeing_kubelet_is_a_problem_and_not_a_kubelet_that_has_not_started(folder: Folder) -> None:
    away = decided(folder=folder, kubelet=None, obstacle="it cannot be reached by user 7", streams=0)
    assert away == Decision(Step.WAIT, "it cannot be reached by user 7", problem=True)
    served = decided(folder=folder, kubelet=None, obstacle="it cannot be reached by user 7")
    assert served == replace(away, registered=True)


def test_a_kubelet_that_lost_us_is_told_anew_unless_somebody_else_serves_the_resource() -> None:
    assert (decided(lost=True).step, decided(lost=True).heals) == (Step.REGISTER, True)
    fought = decided(lost=True, stranger="other.sock of process 7 (other)")
    assert (fought.step, fought.registered, fought.problem, fought.wait_s) == (Step.WAIT, False, True, None)
    assert "other.sock of process 7 (other)" in fought.reason


def test_a_kubelet_that_is_never_as_it_was_told_is_told_anew_more_and_more_seldom() -> None:
    waits = [decided(lost=True, heals=heals, healed_at=50.0).wait_s for heals in (MANY_HEALS - 1, MANY_HEALS, MANY_HEALS + 1, 99)]
    assert waits == [None, 60.0, 120.0, 3600.0]
    assert decided(lost=True, heals=MANY_HEALS, healed_at=50.0).problem


def test_a_kubelet_that_keeps_dropping_us_is_a_problem_until_a_stream_lasts() -> None:
    assert decided(drops=MANY_DROPS, stream_up_at=50.0) == Decision(Step.WAIT, DROPPED, 1.0, registered=True, problem=True)
    assert decided(drops=MANY_DROPS, stream_up_at=49.0) == Decision(Step.WAIT, registered=True)
    assert decided(drops=MANY_DROPS, streams=0, retry_at=51.0) == Decision(Step.WAIT, DROPPED, 1.0, problem=True)
    assert not decided(drops=MANY_DROPS - 1, streams=0, retry_at=51.0).problem


def test_a_socket_that_could_not_be_made_again_is_tried_when_it_is_due() -> None:
    assert decided(own_socket_there=False, restore_at=52.0) == Decision(Step.WAIT, wait_s=2.0, registered=True)


def test_other_options_are_told_by_another_registration() -> None:
    assert decided(outdated=True).step is Step.REGISTER


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ({"folder": Folder.UNLINKED, "streams": 0}, Decision(Step.EXIT, "the folder was deleted below our mount")),
        (
            {"kubelet": None, "streams": 0, "path": "/k"},
            Decision(Step.WAIT, "kubelet's socket is not in /k: kubelet has not started, or has another folder (--kubelet-dir)"),
        ),
        ({"kubelet": NEW, "streams": 0}, Decision(Step.REGISTER, "kubelet is new")),
        ({"kubelet": NEW}, Decision(Step.REGISTER, "kubelet is new")),
        (
            {"folder": Folder.UNLINKED},
            Decision(
                Step.WAIT, "the folder was deleted below our mount; the agent ends when this kubelet does", registered=True, problem=True
            ),
        ),
        ({"kubelet": None}, Decision(Step.WAIT, "kubelet's socket is not there; this kubelet serves us until it ends", registered=True)),
        ({"outdated": True}, Decision(Step.REGISTER, "what the agent offers has changed")),
        (
            {"lost": True},
            Decision(Step.REGISTER, "kubelet has lost our registration: somebody else registered this resource", heals=True),
        ),
        (
            {"lost": True, "heals": MANY_HEALS, "healed_at": 50.0},
            Decision(
                Step.WAIT,
                "kubelet has other devices of this resource than it was told, also after it was told anew; see its log",
                60.0,
                problem=True,
            ),
        ),
        (
            {"lost": True, "stranger": "other.sock"},
            Decision(
                Step.WAIT,
                "another device plugin serves this resource: other.sock; kubelet hands out its devices and not ours. End it, or have"
                " it offer another resource",
                problem=True,
            ),
        ),
    ],
)
def test_every_step_says_why_and_whether_somebody_has_to_see_to_it(seen: dict[str, object], expected: Decision) -> None:
    assert decided(**seen) == expected


def test_what_is_due_now_is_done_now() -> None:
    assert decided(own_socket_there=False, restore_at=50.0).step is Step.RESTORE_SOCKET
    assert decided(lost=True, heals=MANY_HEALS, healed_at=-10.0).step is Step.REGISTER


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
        restore_at=st.floats(0, 100),
        stream_up_at=st.floats(0, 100),
        drops=st.integers(0, 5),
        lost=st.booleans(),
        stranger=st.sampled_from(["", "other.sock"]),
        heals=st.integers(0, 5),
        healed_at=st.floats(0, 100),
        outdated=st.booleans(),
    )
)
def test_whatever_is_seen_a_wait_ends_by_itself_or_has_a_change_to_wait_for(facts: Facts) -> None:
    decision = decide(facts)
    if decision.step is Step.WAIT and decision.wait_s is None:
        assert facts.streams or facts.kubelet is None
    if decision.wait_s is not None:
        assert decision.wait_s > 0
        later = decide(replace(facts, now=facts.now + decision.wait_s + 0.001))
        assert later.step is not Step.WAIT or later.wait_s is None
        assert later.step is Step.REGISTER or facts.streams


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_the_backoff_is_bounded_and_never_zero(failures: int, random: float) -> None:
    assert 0.05 <= backoff(failures, first_s=0.1, max_s=10.0, random=random) <= 10.0


def test_the_backoff_doubles_from_the_first_wait_and_is_spread_from_half_of_it_to_all() -> None:
    assert [backoff(failures, first_s=1.0, max_s=100.0, random=1.0) for failures in (1, 2, 3, 4)] == [1.0, 2.0, 4.0, 8.0]
    assert [backoff(2, first_s=1.0, max_s=100.0, random=random) for random in (0.0, 0.5, 1.0)] == [1.0, 1.5, 2.0]
