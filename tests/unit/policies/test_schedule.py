"""Fire times: periods, cron expressions, clocks that are changed, and what is too late."""

from __future__ import annotations

import zoneinfo
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.policies.schedule import MOST_COUNTED, NEVER, Cron, Decision, Every, decide, iso, moment


def at(text: str) -> int:
    """A moment from ISO text, UTC where it says nothing else."""
    given = datetime.fromisoformat(text)
    return moment((given if given.tzinfo else given.replace(tzinfo=UTC)).timestamp())


def series(rule: Any, start: str, count: int) -> list[str]:
    """The next fire times after a moment, in the rule's own time zone."""
    found, after = [], at(start)
    for _ in range(count):
        after = rule.next(after)
        zone = getattr(rule, "zone", UTC)
        found.append(datetime.fromtimestamp(after / 1000, zone).isoformat(timespec="minutes"))
    return found


def test_a_period_is_counted_from_1970_wherever_it_begins() -> None:
    assert series(Every.of(3600), "2026-01-01T00:59", 2) == ["2026-01-01T01:00+00:00", "2026-01-01T02:00+00:00"]
    assert Every.of(90).next(179_999) == 180_000
    assert Every.of(90).next(180_000) == 270_000


@pytest.mark.parametrize("given", [90, 90.0, timedelta(minutes=1.5), "90s", "1.5m"])
def test_a_period_may_be_written_in_several_ways(given: Any) -> None:
    assert Every.of(given) == Every(90_000)
    assert str(Every.of(given)) == "every 90 s"


@pytest.mark.parametrize("given", [0, -1, 0.05, "soon", None, True, float("nan"), float("inf"), timedelta(0)])
def test_what_is_no_period_is_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"at least 0\.1 s|a duration"):
        Every.of(given)


@pytest.mark.parametrize(
    ("expression", "fires"),
    [
        ("*/5 * * * *", ["2026-01-01T00:05+00:00", "2026-01-01T00:10+00:00"]),
        ("0 9 * * MON-FRI", ["2026-01-01T09:00+00:00", "2026-01-02T09:00+00:00", "2026-01-05T09:00+00:00"]),
        ("0 0 L * *", ["2026-01-31T00:00+00:00", "2026-02-28T00:00+00:00"]),
        ("0 0 29 2 *", ["2028-02-29T00:00+00:00"]),
        ("@daily", ["2026-01-02T00:00+00:00"]),
        ("@Hourly", ["2026-01-01T01:00+00:00"]),
    ],
)
def test_a_cron_expression_fires_when_it_says(expression: str, fires: list[str]) -> None:
    assert series(Cron.of(expression), "2026-01-01T00:00", len(fires)) == fires


#: (zone, expression, moment from which, what fires)
CHANGES = [
    # Copenhagen, 29 March 2026: 02:00 becomes 03:00
    ("Europe/Copenhagen", "30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:30+02:00"]),
    ("Europe/Copenhagen", "0 3 * * *", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T03:00+02:00"]),
    ("Europe/Copenhagen", "0 2,3 * * *", "2026-03-28T12:00", ["2026-03-29T03:00+02:00", "2026-03-30T02:00+02:00"]),
    ("Europe/Copenhagen", "*/30 * * * *", "2026-03-29T00:00", ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"]),
    # and 25 October 2026: 03:00 becomes 02:00
    ("Europe/Copenhagen", "30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
    # asked from within the hour that comes again
    ("Europe/Copenhagen", "30 2 * * *", "2026-10-25T01:10", ["2026-10-26T02:30+01:00"]),
    ("Europe/Copenhagen", "30 2 * * *", "2026-10-25T00:40", ["2026-10-26T02:30+01:00"]),
    ("Europe/Copenhagen", "30 * * * *", "2026-10-25T00:00", ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00"]),
    ("Europe/Copenhagen", "0 4 * * *", "2026-10-24T12:00", ["2026-10-25T04:00+01:00"]),
    # New York, 8 March 2026: 02:00 becomes 03:00
    ("America/New_York", "30 2 * * *", "2026-03-07T12:00", ["2026-03-08T03:00-04:00", "2026-03-09T02:30-04:00"]),
    ("America/New_York", "15 * * * *", "2026-03-08T06:00", ["2026-03-08T01:15-05:00", "2026-03-08T03:15-04:00"]),
    # and 1 November 2026: 02:00 becomes 01:00
    ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["2026-11-01T01:30-04:00", "2026-11-02T01:30-05:00"]),
    ("America/New_York", "30 1 * * *", "2026-11-01T06:05", ["2026-11-02T01:30-05:00"]),
    ("America/New_York", "*/30 1 * * *", "2026-11-01T05:00", [
        "2026-11-01T01:30-04:00", "2026-11-01T01:00-05:00", "2026-11-01T01:30-05:00", "2026-11-02T01:00-05:00",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("zone", "expression", "start", "fires"), CHANGES)
def test_when_the_clocks_are_changed(zone: str, expression: str, start: str, fires: list[str]) -> None:
    assert series(Cron.of(expression, zone), start, len(fires)) == fires


@given(
    zone=st.sampled_from(["Europe/Copenhagen", "America/New_York", "Africa/Cairo", "Australia/Lord_Howe", "UTC"]),
    expression=st.sampled_from(["30 2 * * *", "0 0,2,3 * * *", "*/20 * * * *", "15 */2 * * *", "5 0 * * 0"]),
    start=st.integers(at("2026-01-01"), at("2027-01-01")),
    steps=st.lists(st.integers(0, 4_000_000), min_size=1, max_size=20),
)  # fmt: skip
def test_whoever_asks_from_wherever_hears_of_the_same_fire_times(
    zone: str, expression: str, start: int, steps: list[int]
) -> None:
    rule = Cron.of(expression, zone)
    end = start + sum(steps)
    at_once, asked = [], start
    while (asked := rule.next(asked)) <= end:
        at_once.append(asked)

    by_steps: list[int] = []
    since = start
    for step in steps:
        decision = decide(rule, through=since, now=since + step, limit=10**9, most=10**6)
        by_steps += decision.fires
        since = decision.through

    assert by_steps == at_once
    assert sorted(set(at_once)) == at_once


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("* * * *", "it has five fields"),
        ("*/10 * * * * *", "for seconds use every"),
        ("61 * * * *", "bad minute"),
        ("* * * * MOO", "bad day-of-week"),
        ("", "it has five fields"),
        (5, "is no cron expression: it is a text"),
        ("0 0 31 2 *", "bad day"),
        ("0 0 */20 * 1L", "fires never"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_field_that_is_wrong(expression: Any, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Cron.of(expression)


@pytest.mark.parametrize("zone", ["Europe/Kobenhavn", "", "../etc/passwd", None, 2])
def test_a_zone_that_is_unknown_is_refused(zone: Any) -> None:
    with pytest.raises(ValueError, match="is not known: it is a name like 'Europe/Copenhagen'"):
        Cron.of("* * * * *", zone)


def test_a_zone_may_be_an_object() -> None:
    assert str(Cron.of("0 0 * * *", zoneinfo.ZoneInfo("Asia/Tokyo"))) == "0 0 * * * Asia/Tokyo"


def test_there_is_nothing_after_the_calendars_end() -> None:
    assert Cron.of("* * * * *").next(NEVER - 1) == NEVER


def test_what_is_later_than_the_limit_is_left_out_and_counted() -> None:
    decision = decide(Every(1000), through=0, now=10_000, limit=3000, most=10)

    assert decision == Decision((7000, 8000, 9000, 10_000), 6, 10_000)


def test_an_endless_outage_is_counted_up_to_a_limit() -> None:
    decision = decide(Every(1000), through=0, now=10**12, limit=1500, most=10)

    assert decision == Decision((10**12 - 1000, 10**12), MOST_COUNTED, 10**12)


def test_more_than_go_at_once_are_left_for_the_next_time() -> None:
    first = decide(Every(1000), through=0, now=5000, limit=10**6, most=3)
    second = decide(Every(1000), through=first.through, now=5000, limit=10**6, most=3)

    assert (first, second) == (Decision((1000, 2000, 3000), 0, 3000), Decision((4000, 5000), 0, 5000))


def test_a_clock_that_went_back_decides_nothing_again() -> None:
    assert decide(Every(1000), through=9000, now=4000, limit=10**6, most=3) == Decision((), 0, 9000)


@given(st.integers(0, 4_000_000_000_000))
def test_a_moment_survives_being_seconds(number: int) -> None:
    assert moment(number / 1000) == number
    assert at(iso(number)) == number
