"""Counts what the mover of delayed messages does; one for each process, kept by the PrometheusObserver."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from elsa.observe import catalogue
from elsa.observe.instruments import Counts, Histogram, spread
from elsa.observer import MoverObserver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.observe.buckets import Buckets
    from elsa.observe.exposition import Page


class MoverMetrics(MoverObserver):
    """The mover's thread calls it, scrapes read it."""

    def __init__(self, buckets: Buckets) -> None:
        self._lock = Lock()
        self._outcomes = Counts(catalogue.DELAYED_OUTCOMES)
        self._lateness = Histogram(buckets.of(catalogue.DELAYED_LATENESS))
        self._aborts = Counts()
        self._due = 0

    def moved(self, outcomes: Mapping[str, int], delays: Sequence[float]) -> None:
        hit = spread(self._lateness.bounds, delays) if delays else ()
        with self._lock:
            for outcome, count in outcomes.items():
                self._outcomes.add(outcome, count)
            self._lateness.add(hit, sum(delays))

    def due(self, messages: int) -> None:
        self._due = messages

    def aborted(self, code: str) -> None:
        with self._lock:
            self._aborts.add(code)

    def collect(self, page: Page) -> None:
        """Add everything."""
        with self._lock:
            for name, count in self._outcomes.values.items():
                page.add(catalogue.DELAYED, (name,), count)
            for name, count in self._aborts.values.items():
                page.add(catalogue.DELAYED_ABORTS, (name,), count)
            page.histogram(catalogue.DELAYED_LATENESS, (), self._lateness)
            page.add(catalogue.DELAYED_DUE, (), self._due)
