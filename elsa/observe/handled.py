"""Counts what handlers do; a `HandlerMetrics` for each handler on each topic, kept by the PrometheusObserver."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.control.protocol import Tally
from elsa.observe import catalogue
from elsa.observe.instruments import Counts, Histogram, spread
from elsa.observer import HandlerObserver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.clock import Clock
    from elsa.observe.buckets import Buckets
    from elsa.observe.exposition import Page
    from elsa.observe.partitions import HandlerKey


class HandlerMetrics(HandlerObserver):
    """One handler on one topic; executor threads and the group manager call it."""

    def __init__(self, buckets: Buckets, handler: str, clock: Clock = SYSTEM) -> None:
        self._lock = Lock()
        self._clock = clock
        self._outcomes = dict.fromkeys(catalogue.OUTCOMES, 0)
        self._durations = Histogram(buckets.of(catalogue.PROCESS_DURATION, handler))
        self._waits = Histogram(buckets.of(catalogue.QUEUE_WAIT))
        self._ages = Histogram(buckets.of(catalogue.END_TO_END))
        self._sizes = Histogram(buckets.of(catalogue.BATCH))
        self._has_batches = False
        self._exceptions = Counts()
        # handlers give reasons in words, which are no labels; from 0 on, or an alert would miss the first of them
        self._dead = Counts((*catalogue.DEAD_REASONS, catalogue.OTHER), limit=len(catalogue.DEAD_REASONS))
        self._messages = 0
        self._size = 0
        self._running = 0
        self._expired = 0

    def received(self, messages: int, size: int) -> None:
        with self._lock:
            self._messages += messages
            self._size += size

    def started(self, messages: int) -> None:
        with self._lock:
            self._running += messages

    def ended(self, messages: int) -> None:
        with self._lock:
            self._running -= messages

    def finished(self, durations: Sequence[float], outcomes: Mapping[str, int]) -> None:
        hit = spread(self._durations.bounds, durations) if durations else ()
        total = sum(durations)
        with self._lock:
            self._durations.add(hit, total)
            counts = self._outcomes
            for outcome, count in outcomes.items():
                counts[outcome] = counts.get(outcome, 0) + count

    def sampled(self, seconds: float, trace: str) -> None:
        now = self._clock.now()
        with self._lock:
            self._durations.exemplify(seconds, (("trace_id", trace),), now)

    def waited(self, waits: Sequence[tuple[float, int]]) -> None:
        with self._lock:
            for seconds, messages in waits:
                self._waits.observe(seconds, messages)

    def aged(self, ages: Sequence[tuple[float, int]]) -> None:
        with self._lock:
            for seconds, messages in ages:
                self._ages.observe(seconds, messages)

    def batched(self, messages: int) -> None:
        with self._lock:
            self._has_batches = True
            self._sizes.observe(messages)

    def exception(self, error: BaseException, attempt: int) -> None:  # noqa: ARG002 - attempts are a gauge
        kind = type(error)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        with self._lock:
            self._exceptions.add(name)

    def expired(self, messages: int) -> None:
        with self._lock:
            self._expired += messages

    def dead_letter(self, reason: str) -> None:
        with self._lock:
            self._dead.add(reason)

    def tally(self, key: HandlerKey) -> Tally:
        """What is reported to who watches from afar."""
        with self._lock:
            pairs = list(zip((*self._durations.bounds, None), self._durations.counts, strict=True))
            while pairs and not pairs[-1][1]:
                pairs.pop()
            return Tally(
                group=key[0] or None,
                topic=key[1],
                handler=key[2],
                running=self._running,
                outcomes={outcome: count for outcome, count in self._outcomes.items() if count},
                exceptions=sum(self._exceptions.values.values()),
                spread=pairs,
            )

    def collect(self, page: Page, key: HandlerKey, topic: _Topic) -> int:
        """Add what is shown by handler to the page, the rest to its `topic`; how many messages it works on."""
        with self._lock:
            for outcome, count in self._outcomes.items():
                page.add(catalogue.PROCESSED, (*key, outcome), count)
            page.histogram(catalogue.PROCESS_DURATION, key, self._durations)
            if self._has_batches:
                page.histogram(catalogue.BATCH, key, self._sizes)
            page.add(catalogue.EXPIRED, key, self._expired)
            for name, count in self._exceptions.values.items():
                page.add(catalogue.EXCEPTIONS, (*key, name), count)
            for reason, count in self._dead.values.items():
                page.add(catalogue.DEAD_LETTERS, (*key, reason), count)
            topic.received += self._messages
            topic.size += self._size
            topic.waits.merge(self._waits)
            topic.ages.merge(self._ages)
            return self._running


class _Topic:
    """The sums of the handlers that share a topic (tasks do)."""

    def __init__(self, buckets: Buckets) -> None:
        self.received = 0
        self.size = 0
        self.waits = Histogram(buckets.of(catalogue.QUEUE_WAIT))
        self.ages = Histogram(buckets.of(catalogue.END_TO_END))

    def collect(self, page: Page, labels: tuple[str, str]) -> None:
        page.add(catalogue.RECEIVED, labels, self.received)
        page.add(catalogue.RECEIVED_BYTES, labels, self.size)
        page.histogram(catalogue.QUEUE_WAIT, labels, self.waits)
        page.histogram(catalogue.END_TO_END, labels, self.ages)


def collect(page: Page, handlers: Mapping[HandlerKey, HandlerMetrics], buckets: Buckets) -> dict[HandlerKey, int]:
    """Add every handler and every topic; how many messages each handler works on."""
    topics: dict[tuple[str, str], _Topic] = {}
    running: dict[HandlerKey, int] = {}
    for key, handler in handlers.items():
        labels = key[:2]
        if labels not in topics:
            topics[labels] = _Topic(buckets)
        running[key] = handler.collect(page, key, topics[labels])
    for labels, topic in topics.items():
        topic.collect(page, labels)
    return running
