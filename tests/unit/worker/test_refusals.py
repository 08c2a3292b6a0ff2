from __future__ import annotations

from elsa.testing.clock import FakeClock
from elsa.worker.refusals import STANDING_SECONDS, Refusal, Refusals


def test_a_topic_is_refused_from_the_first_time_until_it_may_be_read() -> None:
    clock = FakeClock()
    refusals = Refusals(clock)
    first = clock.monotonic()
    refusals.add("orders", "needs Read")
    clock.advance(10)
    refusals.add("orders", "needs Read on it")
    assert refusals.now == {"orders": Refusal(first, first + 10, "needs Read on it")}

    clock.advance(STANDING_SECONDS)
    assert refusals.standing() == {"orders"}
    refusals.lift({"orders", "bills"}, clock.monotonic())
    assert refusals.now == {}


def test_what_is_refused_just_now_is_not_lifted_by_a_broker_that_has_not_heard_of_it() -> None:
    clock = FakeClock()
    refusals = Refusals(clock)
    refusals.add("orders", "needs Read")
    refusals.lift({"orders"}, clock.monotonic())
    assert set(refusals.now) == {"orders"}
    assert refusals.standing() == set()

    asked_at = clock.monotonic() + STANDING_SECONDS
    clock.advance(2 * STANDING_SECONDS)
    refusals.add("orders", "refused again meanwhile")
    refusals.lift({"orders"}, asked_at)
    assert set(refusals.now) == {"orders"}


def test_a_topic_that_is_refused_still_stays() -> None:
    clock = FakeClock()
    refusals = Refusals(clock)
    refusals.add("orders", "needs Read")
    refusals.add("bills", "needs Read")
    clock.advance(STANDING_SECONDS)
    refusals.lift({"bills"}, clock.monotonic())

    assert set(refusals.now) == {"orders"}
