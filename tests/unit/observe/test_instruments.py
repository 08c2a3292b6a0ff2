"""Slices are counted as single values would be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elsa.observe.catalogue import FAST, OTHER, RUN
from elsa.observe.instruments import Counts, Histogram, spread

values = st.lists(st.one_of(st.floats(0, 400), st.sampled_from(RUN)), min_size=1, max_size=80)


@given(values)
def test_a_slice_falls_into_the_same_buckets_as_its_values_one_by_one(durations: list[float]) -> None:
    single, sliced = Histogram(RUN), Histogram(RUN)
    for value in durations:
        single.observe(value)

    sliced.add(spread(RUN, durations), sum(durations))

    assert single.counts == sliced.counts
    assert len(durations) == sum(sliced.counts)


def test_a_value_on_a_bound_belongs_below_it() -> None:
    histogram = Histogram(FAST)
    histogram.observe(0.005)
    histogram.observe(11.0)

    assert histogram.counts[0] == 1
    assert histogram.counts[-1] == 1
    assert histogram.total == 11.005


def test_names_above_the_limit_are_counted_together() -> None:
    counts = Counts(["known"], limit=2)
    for name in ("a", "b", "c", "known", "a"):
        counts.add(name)

    assert counts.values == {"known": 1, "a": 2, OTHER: 2}
