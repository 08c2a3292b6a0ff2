from __future__ import annotations

from elsa.testing.clock import FakeClock
from elsa.worker.pulse import Fatal, Pulse


def statistics(join_state: str, state: str = "up") -> dict[str, object]:
    return {"cgrp": {"state": state, "join_state": join_state}}


def test_a_join_state_is_frozen_from_when_it_was_first_seen() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    pulse.heard(statistics("wait-sync"))
    since = clock.monotonic()
    clock.advance(15)
    pulse.heard(statistics("wait-sync"))

    assert pulse.frozen == ("wait-sync", since)


def test_another_state_begins_anew_and_rest_ends_it() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    pulse.heard(statistics("wait-join"))
    clock.advance(15)
    pulse.heard(statistics("wait-sync"))
    assert pulse.frozen == ("wait-sync", clock.monotonic())
    for state in ("steady", "init", "wait-metadata"):
        pulse.heard(statistics("wait-sync"))
        pulse.heard(statistics(state))
        assert pulse.frozen is None


def test_without_its_coordinator_no_join_stands_still() -> None:
    pulse = Pulse(FakeClock())
    pulse.heard(statistics("wait-sync"))
    pulse.heard(statistics("wait-sync", "wait-broker-transport"))

    assert pulse.frozen is None


def test_statistics_of_a_client_without_a_group_say_nothing() -> None:
    pulse = Pulse(FakeClock())
    pulse.heard({"brokers": {}})

    assert pulse.frozen is None


def test_fatal_errors_are_counted_from_the_first_until_the_group_is_joined() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    first = clock.monotonic()
    pulse.failed("fenced")
    clock.advance(30)
    pulse.failed("fenced again")
    assert pulse.fatal == Fatal(first, first + 30, "fenced again")
    pulse.assigned()

    assert pulse.fatal is None
    assert pulse.was_assigned


def test_a_member_that_was_thrown_out_is_out_until_it_is_let_in() -> None:
    pulse = Pulse(FakeClock())
    assert not pulse.is_out
    pulse.thrown_out()
    pulse.assigned()
    pulse.heard(statistics("wait-join"))
    pulse.heard(statistics("steady", "wait-coord"))
    assert pulse.is_out
    pulse.let_in()
    assert not pulse.is_out

    for state in ("steady", "init", "wait-metadata"):
        pulse.thrown_out()
        pulse.heard(statistics(state))
        assert not pulse.is_out


def test_failures_that_lie_far_apart_are_no_row() -> None:
    clock = FakeClock()
    pulse = Pulse(clock)
    pulse.failed("fenced")
    clock.advance(3_600)
    pulse.failed("fenced again")

    assert pulse.fatal == Fatal(clock.monotonic(), clock.monotonic(), "fenced again")


def test_a_new_client_has_no_join_that_stands_still() -> None:
    pulse = Pulse(FakeClock())
    pulse.heard(statistics("wait-sync"))
    pulse.renewed()

    assert pulse.frozen is None
    assert pulse.has_client
