"""The grade of a partition follows from its window alone, and each grade means what the table says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elsa.monitor.grades import SEVERITY, Grades, Sample, grade, worst
from elsa.observe.catalogue import GRADES

from .sights import group, partition

STEP = 10.0
WINDOW = 50.0


def window(
    offsets: list[int | None], lags: list[int], *, owned: bool | list[bool] = True, step: float = STEP
) -> list[Sample]:
    owners = owned if isinstance(owned, list) else [owned] * len(offsets)
    return [Sample(number * step, *facts) for number, facts in enumerate(zip(offsets, lags, owners, strict=True))]


def test_the_metric_has_the_same_grades() -> None:
    assert set(SEVERITY) == set(GRADES)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        # a consumer that keeps up, and one that falls behind and catches up again
        (window([10, 20, 30, 40, 50, 60], [0, 3, 0, 2, 0, 1]), "ok"),
        (window([10, 11, 12, 13, 40, 60], [9, 12, 14, 20, 6, 3]), "ok"),
        # steady, a little behind
        (window([10, 20, 30, 40, 50, 60], [5, 5, 5, 5, 5, 5]), "ok"),
        # it works, and more comes in than it can do
        (window([10, 20, 30, 40, 50, 60], [5, 7, 7, 9, 12, 13]), "warn"),
        # somebody holds the partition and does nothing: a handler that hangs, a paused partition
        (window([10, 10, 10, 10, 10, 10], [1, 2, 3, 4, 5, 6]), "stall"),
        (window([None, None, None, None, None, None], [3, 3, 3, 3, 3, 3]), "stall"),
        # the same, and it was only there at the beginning: a rebalance, or it has just died
        (
            window([10, 10, 10, 10, 10, 10], [1, 2, 3, 4, 5, 6], owned=[True, False, False, False, False, False]),
            "stall",
        ),
        # nobody holds it: all workers are dead
        (window([10, 10, 10, 10, 10, 10], [1, 2, 3, 4, 5, 6], owned=False), "stop"),
        (window([None, None, None, None, None, None], [4, 4, 4, 4, 4, 4], owned=False), "stop"),
        # nobody holds it, but somebody commits: a consumer that assigns its partitions itself
        (window([10, 11, 12, 13, 14, 15], [4, 4, 4, 4, 4, 4], owned=False), "ok"),
        # somebody has moved it back, or its offsets are gone
        (window([50, 60, 20, 25, 30, 35], [1, 1, 41, 36, 31, 26]), "rewind"),
        (window([50, 60, None, None, None, None], [1, 1, 61, 61, 61, 61], owned=False), "rewind"),
        # and it has come to where it was
        (window([50, 60, 20, 40, 55, 60], [1, 1, 41, 21, 6, 1]), "ok"),
        # the lag was gone at one look: what waits now has come since
        (window([10, 10, 10, 10, 10, 10], [0, 0, 0, 0, 0, 6], owned=False), "ok"),
        # nothing is certain until the looks fill the window, but that it went back
        (window([10, 10, 10], [1, 2, 3], owned=False), "ok"),
        (window([10, 10], [1, 2], step=WINDOW), "ok"),
        (window([10, 4], [1, 7]), "rewind"),
        ([], "ok"),
    ],
)
def test_each_story_has_its_grade(samples: list[Sample], expected: str) -> None:
    assert grade(samples, WINDOW) == expected


anything = st.lists(
    st.tuples(st.one_of(st.none(), st.integers(0, 50)), st.integers(0, 50), st.booleans()), min_size=1, max_size=12
).map(lambda facts: [Sample(number * STEP, *each) for number, each in enumerate(facts)])


@given(anything)
def test_a_partition_that_was_caught_up_once_is_ok(samples: list[Sample]) -> None:
    if any(not sample.lag for sample in samples):
        assert grade(samples, WINDOW) == "ok"


@given(anything)
def test_only_a_full_window_makes_a_trend(samples: list[Sample]) -> None:
    if samples[-1].at - samples[0].at < WINDOW:
        assert grade(samples, WINDOW) in ("ok", "rewind")


@given(anything)
def test_what_does_not_move_is_never_said_to_move(samples: list[Sample]) -> None:
    found = grade(samples, WINDOW)
    offsets = {sample.committed for sample in samples}

    if found in ("stall", "stop"):
        assert len(offsets) == 1
    if found in ("rewind", "warn"):
        assert len(offsets) > 1
    if found == "stop":
        assert not any(sample.is_owned for sample in samples)


@given(anything, st.integers(1, 100))
def test_times_and_offsets_have_no_zero(samples: list[Sample], shift: int) -> None:
    """A partition that began elsewhere, seen at another time, has the same grade."""
    moved = [
        Sample(s.at + shift, None if s.committed is None else s.committed + shift, s.lag, s.is_owned) for s in samples
    ]

    assert grade(moved, WINDOW) == grade(samples, WINDOW)


@given(st.lists(st.integers(1, 50), min_size=6, max_size=12))
def test_a_lag_that_grows_at_every_look_is_a_warning(growth: list[int]) -> None:
    lags = [sum(growth[: number + 1]) for number in range(len(growth))]

    assert grade(window(list(range(len(lags))), lags), WINDOW) == "warn"


def test_a_window_forgets_what_is_older() -> None:
    grades = Grades(20.0)
    for number, offset in enumerate([90, 10, 12, 14, 16]):
        found = grades.take(10.0 * number, [group(partition(committed=offset, lag=5))])

    # the way back is out of the window
    assert found == {("billing", "orders", 0): "ok"}


def test_what_is_gone_is_forgotten_and_what_could_not_be_seen_is_not() -> None:
    grades = Grades(20.0)
    stuck = [group(partition(lag=5, owner=None)), group(partition(lag=5, owner=None), name="mail")]
    for number in range(3):
        grades.take(10.0 * number, stuck)

    assert grades.take(30.0, [stuck[0]], unseen=["mail"]) == {
        ("billing", "orders", 0): "stop",
        ("mail", "orders", 0): "stop",
    }
    assert grades.take(40.0, [stuck[0]]) == {("billing", "orders", 0): "stop"}


def test_the_worst_grade_of_a_group() -> None:
    assert worst(["ok", "rewind", "warn"]) == "rewind"
    assert worst([]) == "ok"
