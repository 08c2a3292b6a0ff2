"""The broker's time, as far as it is known: never ahead of it, whatever the clocks do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.delays.brokerclock import KEPT_SECONDS, BrokerClock
from elsa.testing.clock import FakeClock


class Machine(FakeClock):
    """A machine whose wall clock can be set."""

    def step(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
def machine() -> Machine:
    return Machine(1_000.0)


def test_without_a_measurement_the_machines_clock_has_to_do(machine: Machine) -> None:
    clock = BrokerClock(machine)

    assert not clock.is_known
    assert clock.now() == 1_000.0
    assert clock.age == float("inf")


def test_a_stamp_is_a_bound_from_below_and_the_highest_one_counts(machine: Machine) -> None:
    clock = BrokerClock(machine)
    clock.learn(5_000.0, machine.monotonic())
    machine.advance(2.0)
    # heard of late: it says less than the one before
    clock.learn(5_000.5, machine.monotonic())
    assert clock.now() == pytest.approx(5_002.0)

    clock.learn(5_002.25, machine.monotonic())
    assert clock.now() == pytest.approx(5_002.25)


def test_steps_of_the_machines_clock_change_nothing_but_ask_for_a_new_measurement(machine: Machine) -> None:
    clock = BrokerClock(machine)
    clock.learn(5_000.0, machine.monotonic(), sent=machine.monotonic())
    machine.advance(1.0)
    assert clock.age == pytest.approx(1.0)

    machine.step(-3_600.0)
    assert clock.now() == pytest.approx(5_001.0)
    assert clock.age == float("inf")


def test_a_step_back_of_the_brokers_clock_is_noticed_by_the_next_stamp(machine: Machine) -> None:
    clock = BrokerClock(machine)
    clock.learn(5_000.0, machine.monotonic())
    machine.advance(1.0)
    clock.learn(4_900.0, machine.monotonic(), sent=machine.monotonic() - 0.01)

    assert clock.now() == pytest.approx(4_900.0)


def test_a_measurement_does_not_count_for_ever(machine: Machine) -> None:
    clock = BrokerClock(machine)
    clock.learn(5_000.0, machine.monotonic())
    machine.advance(KEPT_SECONDS + 1)
    clock.learn(5_000.0, machine.monotonic())

    assert clock.now() == pytest.approx(5_000.0)


def test_where_the_broker_does_not_tell_this_machines_clock_is_taken(machine: Machine) -> None:
    clock = BrokerClock(machine)
    clock.assume()

    assert clock.is_known
    assert clock.now() == pytest.approx(1_000.0)
    assert clock.age == 0


@given(st.lists(st.tuples(st.floats(0, 30), st.floats(0, 2), st.floats(0, 2), st.booleans()), max_size=30))
def test_it_is_never_ahead_of_the_broker(steps: list[tuple[float, float, float, bool]]) -> None:
    machine = Machine(1_000.0)
    clock = BrokerClock(machine)
    apart = 77_000.0 - machine.monotonic()
    for pause, before, after, knows_sent in steps:
        machine.advance(pause)
        sent = machine.monotonic()
        machine.advance(before)
        # whole milliseconds
        stamped = int((machine.monotonic() + apart) * 1_000) / 1_000
        machine.advance(after)
        clock.learn(stamped, machine.monotonic(), sent if knows_sent else None)
        assert clock.now() <= machine.monotonic() + apart + 1e-6
