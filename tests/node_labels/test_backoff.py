"""When an agent tries again, and that a thousand of them do not do it at once."""

import random

from npu_agent.cluster.backoff import delay_s, look_again_s


def test_the_wait_doubles_up_to_a_minute_and_half_of_it_is_up_to_chance() -> None:
    assert [delay_s(failures, lambda: 0.0) for failures in range(1, 9)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert [round(delay_s(failures, lambda: 0.9999999)) for failures in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert delay_s(10_000, lambda: 0.0) == 30


def test_a_refusal_is_waited_out_for_up_to_ten_minutes() -> None:
    assert delay_s(30, lambda: 0.0, refused=True) == 300


def test_nobody_comes_back_sooner_than_the_server_wants_nor_all_right_then() -> None:
    assert delay_s(1, lambda: 0.0, retry_after_s=20) == 20
    assert delay_s(1, lambda: 0.5, retry_after_s=20) == 30


def test_a_look_without_a_reason_comes_once_an_hour_at_a_time_of_its_own() -> None:
    assert look_again_s(lambda: 0.0) == 3600
    assert look_again_s(lambda: 0.5) == 3780


def test_a_thousand_agents_come_back_over_more_than_half_a_minute_after_a_minute_away() -> None:
    chance = random.Random(1)
    returns = []
    for _ in range(1000):
        now, failures = chance.uniform(0, 1), 0
        while now < 60:
            failures += 1
            now += delay_s(failures, chance.random)
        returns.append(now)
    returns.sort()
    assert returns[-1] - returns[0] > 30
    busiest = max(sum(1 for other in returns if moment <= other < moment + 1) for moment in range(60, 120))
    assert busiest < 50
