"""The clock that tests move."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from elsa.testing import FakeClock


def test_both_clocks_stand_still_until_they_are_moved_together() -> None:
    clock = FakeClock(1000)
    before = clock.monotonic()

    clock.advance(2.5)

    assert (1002.5, before + 2.5) == (clock.now(), clock.monotonic())


def test_it_begins_at_a_datetime() -> None:
    assert FakeClock(datetime(2026, 1, 1, tzinfo=UTC)).now() == datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def test_a_datetime_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        FakeClock(datetime(2026, 1, 1))  # noqa: DTZ001 - what is tested


def test_it_begins_at_the_real_time_without_one() -> None:
    low, clock, high = time.time(), FakeClock(), time.time()

    assert low <= clock.now() <= high


def test_it_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        FakeClock().advance(-1)
