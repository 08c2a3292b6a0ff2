"""The arrays behind the metrics: a histogram filled by slices, and counters by a bounded label."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING

from elsa.observe.catalogue import OTHER

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from elsa.observe.exposition import Exemplar, Labels


class Histogram:
    """Counts per bucket (not cumulative), its newest exemplar, and the sum; its owner holds the lock around calls."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.exemplars: list[Exemplar | None] = [None] * len(self.counts)
        self.total = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """One value, or `count` equal ones."""
        self.counts[bisect_left(self.bounds, value)] += count
        self.total += value * count

    def exemplify(self, value: float, labels: Labels, now: float) -> None:
        """One of the values that are counted, which its bucket is to stand for; `now` in wall-clock seconds."""
        self.exemplars[bisect_left(self.bounds, value)] = (labels, value, now)

    def merge(self, other: Histogram) -> None:
        """Add what another one with the same bounds has."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.total += other.total

    def add(self, spread: Sequence[tuple[int, int]], total: float) -> None:
        """The `spread` of a slice of values and their sum."""
        counts = self.counts
        for bucket, count in spread:
            counts[bucket] += count
        self.total += total


def spread(bounds: Sequence[float], values: Sequence[float]) -> list[tuple[int, int]]:
    """How many of `values` fall into which bucket, for the buckets that are hit; at least one value, no lock.

    >>> spread((1.0, 2.0), [0.5, 1.0, 3.0])
    [(0, 2), (2, 1)]
    """
    # mostly a slice falls into the first bucket but for a few: only those are sorted, and searched for once per
    # bucket up to the slowest, which costs half of one search per value
    if max(values) <= bounds[0]:
        return [(0, len(values))]
    beyond = sorted([value for value in values if value > bounds[0]])
    hit, done = [], 0
    if len(beyond) < len(values):
        hit.append((0, len(values) - len(beyond)))
    last = bisect_left(bounds, beyond[-1])
    for bucket in range(bisect_left(bounds, beyond[0]), last):
        at = bisect_right(beyond, bounds[bucket], done)
        if at != done:
            hit.append((bucket, at - done))
            done = at
    hit.append((last, len(beyond) - done))
    return hit


class Counts:
    """Counters by one label of at most `limit` values, the rest under `_OTHER`; its owner holds the lock."""

    __slots__ = ("_limit", "values")

    def __init__(self, names: Iterable[str] = (), limit: int = 50) -> None:
        self.values = dict.fromkeys(names, 0)
        self._limit = limit

    def add(self, name: str, count: int = 1) -> None:
        """Count `count` more of `name`."""
        values = self.values
        if name not in values and len(values) >= self._limit:
            name = OTHER
        values[name] = values.get(name, 0) + count
