"""How long messages have waited, and how old they are when they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa import headers
from elsa.worker.ages import ages
from elsa.worker.arrivals import GRAIN_SECONDS, Arrivals, without_last

if TYPE_CHECKING:
    from collections.abc import Sequence


class Stamped:
    """A message with an offset, the time of its sending and headers."""

    def __init__(self, offset: int, seconds: float | None, pairs: Sequence[tuple[str, bytes]] = ()) -> None:
        self._offset = offset
        self._seconds = seconds
        self._pairs = list(pairs)

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return (0, -1) if self._seconds is None else (1, int(self._seconds * 1000))

    def headers(self) -> list[tuple[str, bytes]]:
        return self._pairs


def stamped(*seconds: float | None) -> list[Stamped]:
    return [Stamped(offset, each) for offset, each in enumerate(seconds)]


@pytest.fixture
def arrivals() -> Arrivals:
    """Offsets to 9 have come at 100, to 19 at 101, to 29 at 105."""
    made = Arrivals()
    for last, moment in ((9, 100.0), (19, 101.0), (29, 105.0)):
        made.came(last, moment)
    return made


def raws(first: int, last: int) -> list[Any]:
    return [Stamped(offset, 0.0) for offset in range(first, last + 1)]


@pytest.mark.parametrize(("offset", "expected"), [(0, 10), (9, 10), (10, 9), (29, 5), (30, None)])
def test_one_message_has_waited_since_its_slice_came(arrivals: Arrivals, offset: int, expected: float | None) -> None:
    assert arrivals.wait(offset, 110.0) == expected


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (2, 4, [(10.0, 3)]),
        (8, 11, [(10.0, 2), (9.0, 2)]),
        (0, 29, [(10.0, 10), (9.0, 10), (5.0, 10)]),
        (28, 31, [(5.0, 2)]),
        (40, 41, []),
        (5, 4, []),
    ],
    ids=["one", "two", "three", "the last are unknown", "unknown", "nothing"],
)
def test_a_turn_of_several_slices(arrivals: Arrivals, first: int, last: int, expected: list[tuple[float, int]]) -> None:
    assert arrivals.waits(raws(first, last), 110.0) == expected


def test_what_is_over_is_forgotten(arrivals: Arrivals) -> None:
    arrivals.forget(15)
    assert arrivals.wait(15, 110.0) == 9
    arrivals.forget(20)

    assert arrivals._lasts == [29]
    arrivals.clear()
    assert arrivals.wait(25, 110.0) is None


def test_what_comes_at_almost_the_same_time_is_kept_once() -> None:
    made = Arrivals()
    for offset in range(1_000):
        made.came(offset, 100 + offset * GRAIN_SECONDS / 100)

    assert len(made._lasts) in (10, 11)
    assert made.wait(999, 101.0) == pytest.approx(1 - 9 * GRAIN_SECONDS, abs=GRAIN_SECONDS)


def test_what_was_taken_and_not_run_has_not_waited_yet() -> None:
    assert without_last([(0.5, 3), (0.2, 2)], 0) == [(0.5, 3), (0.2, 2)]
    assert without_last([(0.5, 3), (0.2, 2)], 1) == [(0.5, 3), (0.2, 1)]
    assert without_last([(0.5, 3), (0.2, 2)], 9) == []


def test_messages_that_were_sent_together_are_equally_old() -> None:
    ((seconds, messages),) = ages(stamped(100.0, 100.001, 100.002), 160.0, is_retry=False)

    assert messages == 3
    assert seconds == pytest.approx(59.999)


def test_messages_that_were_sent_far_apart_have_ages_of_their_own() -> None:
    assert ages(stamped(100.0, 130.0, 150.0), 160.0, is_retry=False) == [(60.0, 1), (30.0, 1), (10.0, 1)]


def test_a_clock_that_runs_ahead_and_a_message_without_a_time() -> None:
    assert ages(stamped(170.0, 100.0, None), 160.0, is_retry=False) == [(0.0, 1), (60.0, 1)]
    assert ages(stamped(None), 160.0, is_retry=False) == []


def test_those_that_have_failed_do_not_count() -> None:
    assert ages(stamped(100.0, 100.0, 100.0), 160.0, without={0, 2}, is_retry=False) == [(60.0, 1)]
    assert ages(stamped(100.0), 160.0, without={0}, is_retry=False) == []


def test_what_came_back_is_as_old_as_its_first_send() -> None:
    back = Stamped(0, 150.0, [(headers.ORIGIN_AT, b"100.000")])

    assert ages([back, Stamped(1, 150.0)], 160.0, is_retry=True) == [(60.0, 1), (10.0, 1)]
