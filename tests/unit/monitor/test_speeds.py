"""Rates and percentiles follow from two reports of a process, or two looks at a partition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.monitor.speeds import Flow, Rate, handlers, quantile, total

from .sights import group, look, partition, report, tally

KEY = ("billing", "orders", 0)


def test_a_rate_is_taken_from_the_oldest_look_of_half_a_minute() -> None:
    flow = Flow()
    found = [
        flow.take(look(group(partition(committed=committed, end=end)), at=float(at)))[KEY]
        for at, committed, end in ((0, 100, 100), (10, 150, 200), (40, 190, 230), (50, 190, 230))
    ]

    assert found == [Rate(None, None), Rate(5.0, 10.0), Rate(40 / 30, 1.0), Rate(1.0, 0.75)]


def test_a_group_that_goes_back_or_has_committed_nothing_has_no_negative_rate() -> None:
    flow = Flow()
    flow.take(look(group(partition(committed=100, end=100), partition(1, committed=None)), at=0.0))
    found = flow.take(look(group(partition(committed=10, end=20), partition(1, committed=3)), at=10.0))

    assert found[KEY] == Rate(0.0, 0.0)
    assert found["billing", "orders", 1].done is None
    assert flow.take(look(at=20.0)) == {}


def test_handlers_of_all_workers_are_added_up() -> None:
    before = tally(outcomes={"ok": 100, "failed": 2}, spread=[(0.1, 100), (0.5, 2)])
    now = tally(running=3, outcomes={"ok": 200, "failed": 7, "dead": 1}, exceptions=8, spread=[(0.1, 190), (0.5, 18)])
    one = report(1010.0, now, before=(1000.0, (before,)))
    # it has begun between its two reports
    other = report(1010.0, tally(running=1, outcomes={"ok": 50}, spread=[(0.1, 50)]), before=(1005.0, ()))
    (found,) = handlers({"a": one, "b": other})

    assert (found.workers, found.running, found.exceptions) == (2, 4, 8)
    assert found.outcomes == {"ok": 250, "failed": 7, "dead": 1}
    assert found.rate == pytest.approx(106 / 10 + 50 / 5)
    assert found.failing == pytest.approx(6 / 10)
    # 140 calls within 0.1 s, 16 within 0.5 s: the 95th of a hundred is in the second bucket
    assert found.p95 == pytest.approx(0.1 + 0.4 * (0.95 * 156 - 140) / 16)


def test_a_task_that_was_not_reported_before_had_not_run_before() -> None:
    everybody, mail = tally("tasks of jobs"), tally("mail", outcomes={"ok": 20})
    found = handlers({"a": report(1010.0, everybody, mail, before=(1000.0, (everybody,)))})

    assert [(one.handler, one.rate) for one in found] == [("mail", 2.0), ("tasks of jobs", 0.0)]


def test_without_a_second_report_nothing_is_known_of_speed() -> None:
    (found,) = handlers({"a": report(1010.0, tally(running=1, outcomes={"ok": 5}))})

    assert (found.rate, found.failing, found.p95, found.running) == (None, None, None, 1)


def test_a_worker_that_counts_nothing_adds_nothing() -> None:
    assert handlers({"a": report(1010.0, tallies=None)}) == []


@given(st.dictionaries(st.floats(0.001, 100), st.integers(0, 50), max_size=8), st.floats(0.01, 1.0))
def test_a_quantile_lies_within_the_buckets(spread: dict[float, int], share: float) -> None:
    found = quantile(share, spread)

    if not sum(spread.values()):
        assert found is None
    else:
        assert found is not None
        hit = [bound for bound, count in spread.items() if count]
        assert 0 <= found <= max(hit) * (1 + 1e-9)


def test_above_all_bounds_the_highest_one_is_told() -> None:
    assert quantile(0.95, {0.1: 1, float("inf"): 99}) == 0.1


def test_what_is_not_known_is_left_out_of_a_sum() -> None:
    assert total([1.0, None, 2.0]) == 3.0
    assert total([None]) is None
