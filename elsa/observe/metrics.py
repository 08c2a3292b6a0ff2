"""The observer that counts: every number of one process, kept in plain arrays and read at scrape time.

The engine gets its handler and group observers once and calls them with slices; `snapshot()` and
prometheus_client's registry (through `collect`) read them. Every cell has its own lock, held for some
additions; nothing relies on the GIL.
"""

from __future__ import annotations

import sys
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

from elsa import __version__
from elsa.clock import SYSTEM
from elsa.names import tasks_of
from elsa.observe import catalogue, handled
from elsa.observe.brokers import BrokerMetrics
from elsa.observe.buckets import Buckets
from elsa.observe.delayed import MoverMetrics
from elsa.observe.exposition import Page
from elsa.observe.grouped import GroupMetrics
from elsa.observe.handled import HandlerMetrics
from elsa.observe.instruments import Counts, Histogram, spread
from elsa.observe.partitions import PartitionGauges
from elsa.observer import GroupObserver, HandlerObserver, MoverObserver, Observer, ScheduleObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.control.protocol import Tally
    from elsa.observe.exposition import Family
    from elsa.observe.partitions import HandlerKey
    from elsa.observer import PartitionSnapshot

#: topics that a process may send to before further ones share the label value `_OTHER`
MAX_TOPICS = 1_000
#: delivery reports kept before they are sorted into buckets
PENDING_REPORTS = 512


class PrometheusObserver(Observer):
    """Counts everything the engine tells; one per process.

    With a prometheus_client `registry` it registers itself there (beside the user's own metrics);
    without one, prometheus_client is not even imported. `partition_labels` is auto, on or off: whether each
    partition has series of its own, auto up to 500 of them. `buckets` are those of all histograms.

    >>> observer = PrometheusObserver()
    >>> observer.sent("orders", "ok", 0.002, None)
    >>> [samples for name, _, _, samples in observer.families() if name == "elsa_messages_sent_total"]
    [[('elsa_messages_sent_total', (('topic', 'orders'), ('outcome', 'ok')), 1, None), \
('elsa_messages_sent_total', (('topic', 'orders'), ('outcome', 'error')), 0, None)]]
    """

    def __init__(
        self,
        registry: Any = None,
        *,
        clock: Clock = SYSTEM,
        partition_labels: str = "auto",
        buckets: Buckets | None = None,
    ) -> None:
        self._clock = clock
        self._buckets = buckets or Buckets()
        self._lock = Lock()  # guards the tables; never held while the engine is asked
        self._scraping = Lock()  # lets one scrape at a time through
        self._handlers: dict[HandlerKey, HandlerMetrics] = {}
        self._groups: dict[str, GroupMetrics] = {}
        self._schedules: dict[str, _ScheduleMetrics] = {}
        self._topics: dict[str, _SendMetrics] = {}
        self._mover: MoverMetrics | None = None
        self._partitions = PartitionGauges(clock, partition_labels)
        self._brokers = BrokerMetrics(clock)
        self._queues: list[tuple[str, Callable[[], tuple[int, int]]]] = []
        self._loop_lag = Histogram(self._buckets.of(catalogue.LOOP_LAG))
        self._has_loop = False
        self._observer_errors = Counts()
        self._commands = dict.fromkeys(catalogue.COMMAND_OUTCOMES, 0)
        if registry is not None:
            registry.register(self)

    def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
        """The counters of one handler on one topic; the same ones for the same names."""
        key = (group or "", topic, handler)
        with self._lock:
            if key not in self._handlers:
                self._handlers[key] = HandlerMetrics(self._buckets, handler, self._clock)
            return self._handlers[key]

    def group(self, group: str | None) -> GroupObserver:
        """The counters of one group; the same ones for the same name."""
        with self._lock:
            return self._groups.setdefault(group or "", GroupMetrics(self._clock, self._buckets, self._brokers))

    def mover(self) -> MoverObserver:
        """The counters of the mover, which are shown from then on."""
        with self._lock:
            self._mover = self._mover or MoverMetrics(self._buckets)
            return self._mover

    def schedule(self, name: str) -> ScheduleObserver:
        """The counters of one periodic task; the same ones for the same name."""
        with self._lock:
            return self._schedules.setdefault(name, _ScheduleMetrics(self._buckets))

    def sent(self, topic: str, outcome: str, seconds: float, error: str | None) -> None:
        cell = self._topics.get(topic)
        if cell is None:
            with self._lock:
                if topic not in self._topics and len(self._topics) >= MAX_TOPICS:
                    topic = catalogue.OTHER
                cell = self._topics.setdefault(topic, _SendMetrics(self._buckets))
        cell.report(outcome, seconds, error)

    def throttled(self, client: str, broker: str, seconds: float) -> None:
        self._brokers.throttled(client, broker, seconds)

    def statistics(self, client: str, stats: Mapping[str, Any]) -> None:
        self._brokers.heard(client, stats)

    def loop_lagged(self, seconds: float) -> None:
        with self._lock:
            self._has_loop = True
            self._loop_lag.observe(seconds)

    def watch_queue(self, client: str, read: Callable[[], tuple[int, int]]) -> None:
        with self._lock:
            self._queues.append((client, read))

    def watch(self, snapshot: Callable[[], Sequence[PartitionSnapshot]]) -> None:
        self._partitions.watch(snapshot)

    def commanded(self, outcome: str) -> None:
        with self._lock:
            self._commands[outcome] += 1

    def observer_failed(self, observer: str, event: str, error: BaseException) -> None:  # noqa: ARG002 - only counted
        with self._lock:
            self._observer_errors.add(observer)

    def tallies(self) -> list[Tally]:
        """What each handler has done, for the reports of this process: a few numbers, and nobody is asked.

        Of tasks that share a topic only those that have run: there may be hundreds.
        """
        with self._lock:
            handlers = dict(self._handlers)
        tallies = {key: handler.tally(key) for key, handler in handlers.items()}
        return [tally for key, tally in tallies.items() if tally.has_run or not _is_task(key, handlers)]

    def families(self) -> list[Family]:
        """The values of now, as plain tuples."""
        page = Page()
        with self._lock:
            topics, handlers, groups = dict(self._topics), dict(self._handlers), dict(self._groups)
            schedules, observer_errors = dict(self._schedules), dict(self._observer_errors.values)
            commands = dict(self._commands)
            if self._has_loop:
                page.histogram(catalogue.LOOP_LAG, (), self._loop_lag)
        for topic, sends in topics.items():
            sends.collect(page, topic)
        running = handled.collect(page, handlers, self._buckets)
        with self._scraping:
            busy = self._partitions.collect(page, running)
        for name, group in groups.items():
            group.collect(page, name, busy.get(name, {}))
        if self._mover is not None:
            self._mover.collect(page)
        self._brokers.collect(page)
        self._collect_queues(page)
        for name, schedule in schedules.items():
            schedule.collect(page, name)
        for name, count in observer_errors.items():
            page.add(catalogue.OBSERVER_ERRORS, (name,), count)
        for outcome, count in commands.items():
            page.add(catalogue.COMMANDS, (outcome,), count)
        page.add(catalogue.BUILD_INFO, _versions(), 1)
        return page.families()

    def _collect_queues(self, page: Page) -> None:
        sums: dict[str, list[int]] = {}
        for client, read in tuple(self._queues):
            waiting, limit = read()
            found = sums.setdefault(client, [0, 0])
            found[0] += waiting
            found[1] += limit
        for client, (waiting, limit) in sums.items():
            page.add(catalogue.PRODUCER_QUEUE, (client,), waiting)
            page.add(catalogue.PRODUCER_QUEUE_LIMIT, (client,), limit)

    def collect(self) -> Iterator[Any]:
        """The same for a prometheus_client registry, which calls this when it is scraped."""
        from prometheus_client import Metric  # noqa: PLC0415 - only who has a registry needs it
        from prometheus_client.samples import Exemplar  # noqa: PLC0415 - as above

        for name, kind, text, samples in self.families():
            family = Metric(name.removesuffix("_total") if kind == "counter" else name, text, kind)
            for series, labels, value, exemplar in samples:
                known = None if exemplar is None else Exemplar(dict(exemplar[0]), *exemplar[1:])
                family.add_sample(series, dict(labels), value, exemplar=known)
            yield family

    def describe(self) -> Iterator[Any]:
        """Nothing: registering must not call into the engine."""
        return iter(())


def _is_task(key: HandlerKey, known: Collection[HandlerKey]) -> bool:
    """Whether that is one of several tasks that share a topic."""
    group, topic, handler = key
    together = tasks_of(topic)
    return handler != together and (group, topic, together) in known


def observer_of(app: App) -> PrometheusObserver:
    """The observer of a worker process, as the settings and the handlers of its App say; raises ConfigError."""
    settings = app.settings
    own = {handler.name: found for handler in app.registry if (found := handler.declared.buckets)}
    return PrometheusObserver(
        partition_labels=settings.metrics_partition_labels,
        buckets=Buckets(settings.metrics_histograms, settings.metrics_buckets, own),
    )


class _ScheduleMetrics(ScheduleObserver):
    """One periodic task; the scheduler's thread calls it, scrapes read it."""

    def __init__(self, buckets: Buckets) -> None:
        self._lock = Lock()
        self._fires = 0
        self._missed = 0
        self._held = 0
        self._delays = Histogram(buckets.of(catalogue.SCHEDULE_DELAY))

    def fired(self, delays: Sequence[float]) -> None:
        with self._lock:
            self._fires += len(delays)
            for delay in delays:
                self._delays.observe(delay)

    def missed(self, fires: int) -> None:
        with self._lock:
            self._missed += fires

    def held(self, fires: int) -> None:
        self._held = fires

    def collect(self, page: Page, schedule: str) -> None:
        with self._lock:
            page.add(catalogue.SCHEDULE_FIRES, (schedule,), self._fires)
            page.add(catalogue.SCHEDULE_MISSED, (schedule,), self._missed)
            page.add(catalogue.SCHEDULE_DUE, (schedule,), self._held)
            page.histogram(catalogue.SCHEDULE_DELAY, (schedule,), self._delays)


class _SendMetrics:
    """Sends to one topic; delivery reports come one at a time, so they are kept and counted in slices."""

    def __init__(self, buckets: Buckets) -> None:
        self._lock = Lock()
        # append and popleft are atomic with and without the GIL, so that a report takes no lock
        self._pending: deque[float] = deque()
        self._durations = Histogram(buckets.of(catalogue.SEND_DURATION))
        self._ok = 0
        self._failed = 0
        self._errors = Counts()

    def report(self, outcome: str, seconds: float, error: str | None) -> None:
        if outcome == "ok":
            pending = self._pending
            pending.append(seconds)
            if len(pending) >= PENDING_REPORTS:
                with self._lock:
                    self._count()
            return
        with self._lock:
            self._failed += 1
            self._durations.observe(seconds)
            self._errors.add(error or catalogue.OTHER)

    def _count(self) -> None:
        """Sort what is pending into the buckets; under the lock, so nobody else takes anything out."""
        pending = self._pending
        slice_ = [pending.popleft() for _ in range(len(pending))]
        if slice_:
            self._durations.add(spread(self._durations.bounds, slice_), sum(slice_))
            self._ok += len(slice_)

    def collect(self, page: Page, topic: str) -> None:
        with self._lock:
            self._count()
            page.add(catalogue.SENT, (topic, "ok"), self._ok)
            page.add(catalogue.SENT, (topic, "error"), self._failed)
            page.histogram(catalogue.SEND_DURATION, (topic,), self._durations)
            for name, count in self._errors.values.items():
                page.add(catalogue.SEND_ERRORS, (topic, name), count)


def _versions() -> tuple[str, str, str, str]:
    """Of Elsa, Python, confluent-kafka and librdkafka; the last two once a client has been made."""
    python = ".".join(map(str, sys.version_info[:3]))
    # looked up, not imported: only elsa.kafka imports it, and a process without clients never does
    client = sys.modules.get("confluent_kafka")
    if client is None:
        return __version__, python, "", ""
    return __version__, python, str(client.__version__), str(client.libversion()[0])
