"""Preferred allocation against every other set that could have been chosen, and by examples on one machine."""

import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.core import preferred
from npu_agent.core.health import Health
from npu_agent.core.pool import Device, Pool
from npu_agent.core.preferred import prefer

WELL = Health(healthy=True, reason="", since=0.0)


def device(id: str, location: str = "", card: str = "") -> Device:
    return Device(id, card or id, WELL, tuple(location.split("/")) if location else ())


def pool(*devices: Device, policy: str = "packed") -> Pool:
    return Pool("furiosa.ai/npu", devices, policy)


def two_sockets(parts: Sequence[str] = ("",), policy: str = "packed") -> Pool:
    """Cards a to d on socket 0 and e to h on socket 1, two below each PCIe switch."""
    return pool(
        *(
            device(f"{card}{part}", f"numa{index // 4}/root{index // 4}/switch{index // 2}/{card}", card)
            for index, card in enumerate("abcdefgh")
            for part in parts
        ),
        policy=policy,
    )


@pytest.mark.parametrize(
    ("available", "must_include", "size", "answer", "why"),
    [
        ("abcdefgh", "", 1, "a", "all are alike, so the first"),
        ("abcdefgh", "", 2, "ab", "two below one switch"),
        ("acdefgh", "", 1, "a", "its switch is broken already, and so is its socket"),
        ("bcdefgh", "", 2, "cd", "two below one switch, and the other socket stays whole"),
        ("cdefgh", "", 2, "cd", "socket 1 stays whole"),
        ("acefgh", "", 2, "ef", "two below one switch are nearer than two of one socket, and that comes first"),
        ("abcdefgh", "", 4, "abcd", "one socket"),
        ("bcdefgh", "", 4, "efgh", "the only socket with room for four"),
        ("abcdefgh", "", 5, "abcde", "one socket and one more"),
        ("abdefh", "", 3, "abd", "both sockets have three, so by id"),
        ("abcdefgh", "c", 2, "cd", "the neighbour of what was chosen"),
        ("acdefgh", "c", 3, "acd", "the neighbour, then the one of its socket"),
        ("abcdefgh", "ah", 3, "abh", "near to one of the two"),
        ("abcdefgh", "ah", 4, "abch", "three of one socket are nearer than two of each"),
        ("abcdefgh", "", 8, "abcdefgh", "all"),
    ],
)
def test_on_a_machine_with_two_sockets_the_nearest_cards_are_preferred(
    available: str, must_include: str, size: int, answer: str, why: str
) -> None:
    assert "".join(prefer(two_sockets(), list(available), list(must_include), size)) == answer, why


def test_partitions_of_one_card_are_preferred_where_they_are_packed() -> None:
    halves = two_sockets(parts=("0", "1"))
    everything = [device.id for device in halves.devices]
    assert prefer(halves, everything, [], 2) == ["a0", "a1"]
    assert prefer(halves, everything, [], 3) == ["a0", "a1", "b0"]
    assert prefer(halves, [id for id in everything if id != "a0"], [], 1) == ["a1"]


def test_partitions_of_several_near_cards_are_preferred_where_they_are_spread() -> None:
    halves = two_sockets(parts=("0", "1"), policy="spread")
    everything = [device.id for device in halves.devices]
    assert prefer(halves, everything, [], 2) == ["a0", "b0"]
    assert prefer(halves, everything, [], 4) == ["a0", "b0", "c0", "d0"]
    assert prefer(halves, everything, ["a1"], 2) == ["a1", "b0"]


def test_cards_at_one_location_are_neighbours_and_not_one_card() -> None:
    """Two chips of one board, and partitions of one of them: the same chip is nearer than the other chip of the board."""
    board = pool(device("x0", "numa0/board", "x"), device("x1", "numa0/board", "x"), device("y", "numa0/board"), device("z", "numa0/other"))
    assert prefer(board, ["x0", "y", "z"], [], 2) == ["x0", "y"]
    assert prefer(board, ["x0", "x1", "y", "z"], [], 2) == ["x0", "x1"]


def test_a_card_whose_place_is_unknown_is_far_from_all() -> None:
    assert prefer(pool(device("a"), device("b", "numa0/s/b"), device("c", "numa0/t/c")), ["a", "b", "c"], [], 2) == ["b", "c"]


def test_what_must_be_included_is_the_answer_even_where_nobody_knows_it() -> None:
    assert prefer(two_sockets(), ["b"], ["stranger"], 2) == ["b", "stranger"]
    assert prefer(two_sockets(), [], ["stranger", "a"], 2) == ["a", "stranger"]


def test_ids_that_the_pool_does_not_know_are_taken_last() -> None:
    assert prefer(two_sockets(), ["X", "h", "Y", "a"], [], 3) == ["X", "a", "h"]


def test_a_request_for_nothing_gets_nothing_and_one_for_too_much_gets_all() -> None:
    for size in (0, -1, -(2**31)):
        assert prefer(two_sockets(), ["a", "b"], ["a"], size) == []
    assert prefer(two_sockets(), ["a", "b"], ["c"], 2**31 - 1) == ["a", "b", "c"]
    assert prefer(pool(), [], [], 1) == []


def test_of_more_than_asked_that_must_be_included_the_first_by_id_are_the_answer() -> None:
    assert prefer(two_sockets(), ["a"], ["d", "c", "b"], 2) == ["b", "c"]


def cost(pool: Pool, chosen: Sequence[Device]) -> int:
    cards = {(device.location, device.accelerator_id) for device in pool.devices}
    sharing = Counter(location for location, _ in cards)
    height = max(len(location) + (sharing[location] > 1) for location, _ in cards)

    def distance(one: Device, other: Device) -> int:
        if (one.location, one.accelerator_id) == (other.location, other.accelerator_id):
            return height + 1 if pool.policy == "spread" else 0
        steps = 0
        while steps < min(len(one.location), len(other.location)) and one.location[steps] == other.location[steps]:
            steps += 1
        return height - steps

    return sum(distance(one, other) for one, other in combinations(chosen, 2))


def broken_groups(pool: Pool, available: set[str], chosen: set[str]) -> list[int]:
    """The sizes of the groups that were intact and are not any more, the largest first; a group is a set of devices, however named."""
    devices = pool.devices
    beginnings = {device.location[:steps] for device in devices for steps in range(len(device.location) + 1)}
    places = [[device.id for device in devices if device.location[: len(beginning)] == beginning] for beginning in beginnings]
    cards = [
        [one.id for one in devices if (one.location, one.accelerator_id) == (other.location, other.accelerator_id)] for other in devices
    ]
    groups = {frozenset(ids) for ids in [*places, *cards, *([device.id] for device in devices)]}
    return sorted((len(group) for group in groups if group <= available and group & chosen), reverse=True)


def best_of_all(pool: Pool, available: Sequence[str], must_include: Sequence[str], size: int) -> list[str]:
    known = {device.id: device for device in pool.devices}
    free = sorted(set(available) - set(must_include))
    sets = [sorted({*must_include, *others}) for others in combinations(free, min(len(free), size - len(set(must_include))))]

    def judge(ids: list[str]) -> tuple[int, int, list[int], list[str]]:
        strangers = sum(id not in known for id in ids)
        devices = [known[id] for id in ids if id in known]
        return strangers, cost(pool, devices) if devices else 0, broken_groups(pool, set(available), set(ids)), ids

    return min(sets, key=judge)


STEPS = st.lists(st.sampled_from("pqr"), max_size=4)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Pool, list[str], list[str], int]:
    cards = draw(st.lists(st.tuples(STEPS, st.sampled_from([1, 1, 1, 2, 3])), min_size=1, max_size=6))
    names = draw(st.permutations([f"d{number:02}" for number in range(sum(parts for _, parts in cards))]))
    left = iter(names)
    devices = [
        Device(next(left), f"card{number}", WELL, tuple(location)) for number, (location, parts) in enumerate(cards) for _ in range(parts)
    ][:9]
    everything = pool(*devices, policy=draw(st.sampled_from(["packed", "spread"])))
    ids = [device.id for device in devices]
    strangers = ["d005", "other"]
    available = draw(st.lists(st.sampled_from(ids), min_size=len(ids) // 2)) + draw(st.lists(st.sampled_from(ids + strangers)))
    must_include = draw(st.lists(st.sampled_from([*ids, "d005"]), max_size=3))
    size = draw(st.integers(max(1, len(set(must_include))), 9))
    return everything, available, must_include, size


@given(questions())
def test_no_other_choice_is_better(question: tuple[Pool, list[str], list[str], int]) -> None:
    assert prefer(*question) == best_of_all(*question)


def one_of_each_card(question: tuple[Pool, list[str], list[str], int]) -> tuple[Pool, list[str], list[str], int]:
    """The question with the devices left out that "apart" leaves out, so that the answer to it as "packed" is that to the other."""
    everything, available, must_include, size = question
    cards = {device.accelerator_id for device in everything.devices}
    kept = []
    for card in sorted(cards):
        devices = sorted((device for device in everything.devices if device.accelerator_id == card), key=lambda device: device.id)
        held = [device for device in devices if device.id in must_include]
        free = [device for device in devices if device.id in available]
        kept += held or free[:1] or devices[:1]
    left_out = {device.id for device in everything.devices} - {device.id for device in kept}
    return pool(*kept), [id for id in available if id not in left_out], must_include, size


@given(questions())
def test_apart_no_other_choice_of_one_device_of_each_card_is_better(question: tuple[Pool, list[str], list[str], int]) -> None:
    everything, available, must_include, size = question
    answer = prefer(replace(everything, policy="apart"), available, must_include, size)
    assert answer == best_of_all(*one_of_each_card(question))
    cards = [device.accelerator_id for device in everything.devices if device.id in answer and device.id not in must_include]
    assert len(cards) == len(set(cards))
    assert not {device.accelerator_id for device in everything.devices if device.id in must_include}.intersection(cards)


def test_replicas_of_one_card_are_not_given_together_where_they_are_apart() -> None:
    halves = two_sockets(parts=("0", "1"), policy="apart")
    ids = [device.id for device in halves.devices]
    assert prefer(halves, ids, [], 2) == ["a0", "b0"]
    assert prefer(halves, ids, ["c1"], 2) == ["c1", "d0"]
    assert prefer(halves, ["a0", "a1", "g1"], [], 3) == ["a0", "g1"]


@given(questions(), st.randoms())
def test_the_same_question_has_the_same_answer_in_any_order(
    question: tuple[Pool, list[str], list[str], int], shuffled: random.Random
) -> None:
    everything, available, must_include, size = question
    devices = list(everything.devices)
    again = [available * 2, list(must_include), devices]
    for values in again:
        shuffled.shuffle(values)  # type: ignore[arg-type]
    assert prefer(pool(*devices, policy=everything.policy), available * 2, must_include, size) == prefer(*question)


@given(questions(), st.integers(-2, 12), st.lists(st.text("d0 ǝ", max_size=3)))
def test_there_is_always_an_answer_of_the_size_asked_for(
    question: tuple[Pool, list[str], list[str], int], size: int, strangers: list[str]
) -> None:
    everything, available, must_include, _ = question
    answer = prefer(everything, available + strangers, must_include, size)
    there = {*available, *strangers, *must_include}
    assert len(answer) == len(set(answer)) == min(max(size, 0), len(there))
    assert set(answer) <= there
    assert set(must_include) <= set(answer) or set(answer) < set(must_include)


@given(questions())
def test_beyond_the_limit_the_answer_has_the_same_size_and_keeps_what_must_be_included(
    question: tuple[Pool, list[str], list[str], int],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preferred, "WORK_LIMIT", -1)
        answer = prefer(*question)
    _, available, must_include, size = question
    assert len(answer) == len(set(answer)) == min(size, len({*available, *must_include}))
    assert set(must_include) <= set(answer) <= {*available, *must_include}


@pytest.mark.parametrize("policy", ["packed", "spread"])
def test_beyond_the_limit_a_machine_that_is_free_is_filled_socket_by_socket(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferred, "WORK_LIMIT", -1)
    machine = two_sockets(policy=policy)
    for size, answer in [(1, "a"), (2, "ab"), (4, "abcd"), (6, "abcdef")]:
        assert prefer(machine, list("abcdefgh"), [], size) == list(answer)
    assert prefer(machine, list("bcdefgh"), [], 4) == list("efgh")
    assert prefer(machine, list("abcdefgh"), ["g"], 2) == list("gh")


def test_beyond_the_limit_parts_are_spread_over_all_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferred, "WORK_LIMIT", -1)
    halves = two_sockets(parts=("0", "1"), policy="spread")
    assert prefer(halves, [device.id for device in halves.devices], [], 8) == [f"{card}0" for card in "abcdefgh"]


@pytest.mark.parametrize("policy", ["packed", "spread"])
@pytest.mark.parametrize("parts", [1, 16])
@pytest.mark.parametrize("depth", [0, 3, 4096])
def test_thousands_of_devices_are_answered_well_under_a_second(policy: str, parts: int, depth: int) -> None:
    """On one level, on a usual tree, and on a tree that is all depth: no recursion, no search without a bound."""
    devices = [
        Device(f"d{number:04}", f"card{number // parts}", WELL, ("step",) * min(number % 512, depth) + (f"card{number // parts}",))
        for number in range(4096)
    ]
    started = time.process_time()
    answer = prefer(pool(*devices, policy=policy), [device.id for device in devices[1:]], [devices[7].id], 2048)
    assert time.process_time() - started < 1.0
    assert len(answer) == 2048
