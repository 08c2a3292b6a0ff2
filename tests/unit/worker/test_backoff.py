from __future__ import annotations

import pytest

from elsa.worker.backoff import RespawnBackoff


def test_the_first_death_is_answered_at_once() -> None:
    assert RespawnBackoff().after(lived=0.01) == 0.0


def test_from_the_second_short_life_on_the_minimum_life_is_kept_then_doubled_up_to_the_longest() -> None:
    backoff = RespawnBackoff(min_life=5, longest=30)
    waits = [backoff.after(lived=1.0) for _ in range(6)]

    assert waits == [0.0, 4.0, 9.0, 19.0, 29.0, 29.0]


@pytest.mark.parametrize("lived", [5.0, 3600.0])
def test_a_life_of_the_minimum_ends_the_crash_loop(lived: float) -> None:
    backoff = RespawnBackoff(min_life=5)
    for _ in range(3):
        backoff.after(lived=0.1)

    assert backoff.after(lived=lived) == 0.0
    assert backoff.after(lived=0.1) == 0.0


def test_an_end_on_purpose_makes_the_next_death_the_first() -> None:
    backoff = RespawnBackoff(min_life=5)
    backoff.after(lived=0.1)
    backoff.reset()

    assert backoff.after(lived=0.1) == 0.0


def test_thousands_of_deaths_do_not_overflow() -> None:
    backoff = RespawnBackoff(min_life=5, longest=30)

    assert [backoff.after(lived=0.0) for _ in range(5000)][-1] == 30.0
