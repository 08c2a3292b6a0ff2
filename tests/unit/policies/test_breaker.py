"""The breaker against a plain count of everything within the window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elsa.policies.breaker import LEAST_DEAD, WINDOW_SECONDS, Breaker

_STEPS = st.lists(
    st.tuples(st.floats(0, 20), st.integers(0, 30), st.booleans()),
    max_size=200,
)


@given(ratio=st.floats(0, 0.99), steps=_STEPS)
def test_it_trips_when_the_share_of_the_last_minute_is_too_large(
    ratio: float, steps: list[tuple[float, int, bool]]
) -> None:
    breaker = Breaker(ratio)
    now = 0.0
    seen: list[tuple[float, int, int]] = []
    for pause, count, is_dead in steps:
        now += pause
        # what the breaker keeps in one entry leaves the window as one: a second more or less
        sure = [(p, d) for at, p, d in seen if now - at <= WINDOW_SECONDS - 1]
        possible = [(p, d) for at, p, d in seen if now - at <= WINDOW_SECONDS + 1]
        if not is_dead:
            breaker.passed(count, now=now)
            seen.append((now, count, 0))
            continue
        found = breaker.dead(now=now)
        most_dead = sum(d for _, d in possible) + 1
        if found is not None:
            dead, whole = found
            assert LEAST_DEAD <= dead <= most_dead
            assert dead > ratio * whole
            seen.clear()
            continue
        seen.append((now, 0, 1))
        if sure == possible:
            passed, dead = sum(p for p, _ in sure), sum(d for _, d in sure) + 1
            assert dead < LEAST_DEAD or dead <= ratio * (passed + dead)


def test_a_trickle_of_dead_letters_never_trips() -> None:
    breaker = Breaker(0.0)
    assert all(breaker.dead(now=second * (WINDOW_SECONDS / 8)) is None for second in range(100))


def test_it_counts_anew_after_it_has_tripped() -> None:
    breaker = Breaker(0.5)
    found = [breaker.dead(now=1.0) for _ in range(2 * LEAST_DEAD)]
    assert [index for index, one in enumerate(found) if one] == [LEAST_DEAD - 1, 2 * LEAST_DEAD - 1]
