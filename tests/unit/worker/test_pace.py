"""The rate of a handler in one process: starts are spaced evenly, whoever asks, and shares follow the partitions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.testing.clock import FakeClock
from elsa.worker.pace import Gate, Pace, Paces

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-pace")
    yield app
    app.stop()


def dues(pace: Pace, clock: FakeClock, times: int, least: int = 1) -> list[float]:
    """When so many reservations may start, from now on."""
    return [round(pace.reserve(least)[0] - clock.monotonic(), 6) for _ in range(times)]


def test_starts_are_spaced_evenly(clock: FakeClock) -> None:
    assert dues(Pace(4, clock), clock, 4) == [0.0, 0.25, 0.5, 0.75]


def test_time_in_which_nobody_asks_is_not_saved_up(clock: FakeClock) -> None:
    pace = Pace(4, clock)
    pace.reserve(1)
    clock.advance(100)

    assert dues(pace, clock, 3) == [0.0, 0.25, 0.5]


def test_high_rates_are_reserved_in_chunks_of_a_hundredth_of_a_second(clock: FakeClock) -> None:
    pace = Pace(10_000, clock)

    assert [pace.reserve(1)[1] for _ in range(2)] == [100, 100]
    assert dues(pace, clock, 2) == [0.02, 0.03]


def test_a_batch_is_reserved_as_a_whole(clock: FakeClock) -> None:
    assert dues(Pace(10, clock), clock, 3, least=5) == [0.0, 0.5, 1.0]


def test_the_share_is_the_part_of_the_partitions_that_is_here(clock: FakeClock) -> None:
    pace = Pace(60, clock)
    assert pace.here == 60
    pace.share("a", 1, 6)
    assert pace.here == 10
    # what the topology does not know yet cannot make it more than all
    pace.share("a", 2, 0)
    assert pace.here == 60
    pace.share("a", 2, 6)
    pace.share("b", 0, 6)
    assert pace.here == 10
    pace.set_rate(6)

    assert pace.here == 1


def test_where_nothing_is_served_the_rate_does_not_matter(clock: FakeClock) -> None:
    pace = Pace(60, clock)
    pace.share("a", 0, 6)

    assert pace.here == 60


def test_a_gate_gives_out_what_was_reserved_and_is_shut_until_the_next_may_start(clock: FakeClock) -> None:
    pace = Pace(1_000, clock)
    gate = Gate(pace, clock, 1)
    assert [gate.allow(4), gate.allow(4), gate.allow(4)] == [4, 4, 2]
    assert gate.allow(4) == 0
    until = gate.until
    assert until == pytest.approx(clock.monotonic() + 0.01)
    # the others are not asked for again and again meanwhile
    assert gate.allow(4) == 0
    assert pace.reserve(1)[0] == pytest.approx(clock.monotonic() + 0.02)

    gate.open(clock.monotonic())
    assert gate.until == until
    clock.advance(0.01)
    gate.open(clock.monotonic())
    assert gate.until is None
    assert gate.allow(20) == 10


def test_what_was_allowed_and_did_not_start_may_start_later(clock: FakeClock) -> None:
    gate = Gate(Pace(1_000, clock), clock, 1)
    assert gate.allow(10) == 10
    gate.give_back(7)

    assert [gate.allow(10), gate.allow(10)] == [7, 0]


def test_a_handler_has_one_pace_and_one_without_rate_has_none(clock: FakeClock, app: elsa.App) -> None:
    @app.handler("a", rate="90/m")
    def limited(body: bytes) -> None:
        """Never called."""

    @app.handler("b")
    def free(body: bytes) -> None:
        """Never called."""

    paces = Paces(clock)
    pace = paces.of(limited)

    assert pace is not None
    assert pace.here == 1.5
    assert paces.of(limited) is pace
    assert paces.of(free) is None
