"""The taint of nodes with cards among the taints of others."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.cluster.taints import Change, Taint, changed

OURS = Taint("furiosa.ai/npu", "exclusive", "NoSchedule")
OURS_THERE = {"key": "furiosa.ai/npu", "value": "exclusive", "effect": "NoSchedule"}
THEIRS = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "timeAdded": "2026-11-25T08:00:00Z"}


def test_ours_comes_behind_those_of_others() -> None:
    assert changed([THEIRS], OURS, None) == Change([THEIRS, OURS_THERE], OURS)


def test_ours_goes_and_those_of_others_stay() -> None:
    assert changed([THEIRS, OURS_THERE], None, OURS) == Change([THEIRS], None)


def test_nothing_changes_where_ours_is_there() -> None:
    assert changed([OURS_THERE, THEIRS], OURS, OURS) == Change([OURS_THERE, THEIRS], OURS)


def test_ours_comes_back_where_somebody_took_it_away() -> None:
    assert changed([THEIRS], OURS, OURS) == Change([THEIRS, OURS_THERE], OURS)


def test_another_one_takes_the_place_of_ours() -> None:
    other = Taint("furiosa.ai/npu", "shared", "NoSchedule")
    assert changed([OURS_THERE, THEIRS], other, OURS).taints == [THEIRS, {**OURS_THERE, "value": "shared"}]


def test_a_taint_of_somebody_else_in_the_place_of_ours_stays_and_is_told() -> None:
    theirs = {**OURS_THERE, "value": "maintenance"}
    change = changed([theirs], OURS, None)
    assert (change.taints, change.ours) == ([theirs], None)
    assert "furiosa.ai/npu=maintenance:NoSchedule of somebody else" in change.problem


def test_a_taint_just_like_ours_that_we_did_not_put_there_is_never_taken_away() -> None:
    change = changed([OURS_THERE], OURS, None)
    assert change == Change([OURS_THERE], None)
    assert changed([OURS_THERE], None, change.ours).taints == [OURS_THERE]


def test_a_taint_without_a_value_has_none() -> None:
    assert changed([], Taint("a", "", "NoExecute"), None).taints == [{"key": "a", "effect": "NoExecute"}]


@pytest.mark.parametrize("taint", [OURS, Taint("a", "", "NoExecute"), Taint("b.c/d", "x.y", "PreferNoSchedule")])
def test_a_taint_is_known_again_by_its_text(taint: Taint) -> None:
    assert Taint.parse(str(taint)) == taint


@pytest.mark.parametrize("text", ["", "a", "a=b", "=b:c", "a=b:", "a:b"])
def test_a_text_that_is_no_taint_is_none(text: str) -> None:
    assert Taint.parse(text) is None


KEYS = st.sampled_from(["a", "b", "furiosa.ai/npu"])
VALUES = st.sampled_from(["", "exclusive", "x"])
EFFECTS = st.sampled_from(["NoSchedule", "NoExecute"])
TAINTS = st.builds(Taint, KEYS, VALUES, EFFECTS)
LISTS = st.lists(
    st.builds(lambda key, value, effect: {"key": key, "value": value, "effect": effect, "unknown": 1}, KEYS, VALUES, EFFECTS),
    max_size=5,
    unique_by=lambda taint: (taint["key"], taint["effect"]),
)


@given(taints=LISTS, wanted=st.none() | TAINTS, ours=st.none() | TAINTS)
def test_no_taint_of_anybody_else_goes_changes_or_moves(taints: list[dict[str, Any]], wanted: Taint | None, ours: Taint | None) -> None:
    change = changed(taints, wanted, ours)
    theirs = [taint for taint in taints if ours is None or not ours.is_same(taint)]
    assert [taint for taint in change.taints if taint in theirs] == theirs
    assert len(change.taints) - len(theirs) in (0, 1)
    again = changed(change.taints, wanted, change.ours)
    assert (again.taints, again.ours) == (change.taints, change.ours)
    if wanted is not None and not change.problem:
        assert any(wanted.is_same(taint) for taint in change.taints)
