"""The observer that counts: every number of one process, kept in plain arrays and read at scrape time.

The engine gets its handler and group observers once and calls them with slices; `snapshot()` and
prometheus_client's registry (through `collect`) read them. Every cell has its own lock, held for some
additions; nothing relies on the GIL.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from threading import Lock
from typing import TYPE_CHECKING, Any

from elsa import __version__
from elsa.clock import SYSTEM
from elsa.observe import catalogue
from elsa.observe.delayed import MoverMetrics
from elsa.observe.exposition import Page
from elsa.observe.instruments import Counts, Histogram, spread
from elsa.observe.partitions import PartitionGauges
from elsa.observer import GroupObserver, HandlerObserver, MoverObserver, Observer, ScheduleObserver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from elsa.clock import Clock
    from elsa.message import TopicPartition
    from elsa.observe.exposition import Family
    from elsa.observe.partitions import HandlerKey
    from elsa.observer import PartitionSnapshot

#: topics that a process may send to before further ones share the label value `_OTHER`
MAX_TOPICS = 1_000
#: how long a broker's last word on a quota counts: a client that asks for nothing hears of no end
THROTTLE_SECONDS = 60.0
#: delivery reports kept before they are sorted into buckets
PENDING_REPORTS = 512


class PrometheusObserver(Observer):
    """Counts everything the engine tells; one per process.

    With a prometheus_client `registry` it registers itself there (beside the user's own metrics);
    without one, prometheus_client is not even imported.

    >>> observer = PrometheusObserver()
    >>> observer.sent("orders", "ok", 0.002, None)
    >>> [samples for name, _, _, samples in observer.families() if name == "elsa_messages_sent_total"]
    [[('elsa_messages_sent_total', (('topic', 'orders'), ('outcome', 'ok')), 1), \
('elsa_messages_sent_total', (('topic', 'orders'), ('outcome', 'error')), 0)]]
    """

    def __init__(self, registry: Any = None, *, clock: Clock = SYSTEM) -> None:
        self._clock = clock
        self._lock = Lock()  # guards the tables; never held while the engine is asked
        self._scraping = Lock()  # lets one scrape at a time through
        self._handlers: dict[HandlerKey, _HandlerMetrics] = {}
        self._groups: dict[str, _GroupMetrics] = {}
        self._schedules: dict[str, _ScheduleMetrics] = {}
        self._topics: dict[str, _SendMetrics] = {}
        self._mover: MoverMetrics | None = None
        self._partitions = PartitionGauges(clock)
        #: (client, broker) -> (seconds, when that was said)
        self._throttles: dict[tuple[str, str], tuple[float, float]] = {}
        self._observer_errors = Counts()
        self._commands = dict.fromkeys(catalogue.COMMAND_OUTCOMES, 0)
        if registry is not None:
            registry.register(self)

    def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
        """The counters of one handler on one topic; the same ones for the same names."""
        key = (group or "", topic, handler)
        with self._lock:
            return self._handlers.setdefault(key, _HandlerMetrics())

    def group(self, group: str | None) -> GroupObserver:
        """The counters of one group; the same ones for the same name."""
        with self._lock:
            return self._groups.setdefault(group or "", _GroupMetrics(self._clock))

    def mover(self) -> MoverObserver:
        """The counters of the mover, which are shown from then on."""
        with self._lock:
            self._mover = self._mover or MoverMetrics()
            return self._mover

    def schedule(self, name: str) -> ScheduleObserver:
        """The counters of one periodic task; the same ones for the same name."""
        with self._lock:
            return self._schedules.setdefault(name, _ScheduleMetrics())

    def sent(self, topic: str, outcome: str, seconds: float, error: str | None) -> None:
        cell = self._topics.get(topic)
        if cell is None:
            with self._lock:
                if topic not in self._topics and len(self._topics) >= MAX_TOPICS:
                    topic = catalogue.OTHER
                cell = self._topics.setdefault(topic, _SendMetrics())
        cell.report(outcome, seconds, error)

    def throttled(self, client: str, broker: str, seconds: float) -> None:
        with self._lock:
            self._throttles[client, broker] = seconds, self._clock.monotonic()

    def watch(self, snapshot: Callable[[], Sequence[PartitionSnapshot]]) -> None:
        self._partitions.watch(snapshot)

    def commanded(self, outcome: str) -> None:
        with self._lock:
            self._commands[outcome] += 1

    def observer_failed(self, observer: str, event: str, error: BaseException) -> None:  # noqa: ARG002 - only counted
        with self._lock:
            self._observer_errors.add(observer)

    def families(self) -> list[Family]:
        """The values of now, as plain tuples."""
        page = Page()
        with self._lock:
            topics, handlers, groups = dict(self._topics), dict(self._handlers), dict(self._groups)
            schedules, observer_errors = dict(self._schedules), dict(self._observer_errors.values)
            throttles = dict(self._throttles)
            commands = dict(self._commands)
        for topic, sends in topics.items():
            sends.collect(page, topic)
        running = _collect_handlers(page, handlers)
        for name, group in groups.items():
            group.collect(page, name)
        if self._mover is not None:
            self._mover.collect(page)
        now = self._clock.monotonic()
        for labels, (seconds, said) in throttles.items():
            page.add(catalogue.THROTTLE, labels, seconds if now - said < seconds + THROTTLE_SECONDS else 0)
        for name, schedule in schedules.items():
            schedule.collect(page, name)
        for name, count in observer_errors.items():
            page.add(catalogue.OBSERVER_ERRORS, (name,), count)
        for outcome, count in commands.items():
            page.add(catalogue.COMMANDS, (outcome,), count)
        page.add(catalogue.BUILD_INFO, _versions(), 1)
        with self._scraping:
            self._partitions.collect(page, running)
        return page.families()

    def collect(self) -> Iterator[Any]:
        """The same for a prometheus_client registry, which calls this when it is scraped."""
        from prometheus_client import Metric  # noqa: PLC0415 - only who has a registry needs it

        for name, kind, text, samples in self.families():
            family = Metric(name.removesuffix("_total") if kind == "counter" else name, text, kind)
            for series, labels, value in samples:
                family.add_sample(series, dict(labels), value)
            yield family

    def describe(self) -> Iterator[Any]:
        """Nothing: registering must not call into the engine."""
        return iter(())


class _HandlerMetrics(HandlerObserver):
    """One handler on one topic; executor threads and the group manager call it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._outcomes = dict.fromkeys(catalogue.OUTCOMES, 0)
        self._durations = Histogram(catalogue.PROCESS_DURATION.buckets)
        self._exceptions = Counts()
        # handlers give reasons in words, which are no labels
        self._dead = Counts(catalogue.DEAD_REASONS, limit=len(catalogue.DEAD_REASONS))
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
        hit = spread(catalogue.RUN, durations) if durations else ()
        total = sum(durations)
        with self._lock:
            self._durations.add(hit, total)
            counts = self._outcomes
            for outcome, count in outcomes.items():
                counts[outcome] = counts.get(outcome, 0) + count

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

    def collect(self, page: Page, key: HandlerKey) -> tuple[int, int, int, dict[str, int]]:
        """Add what is shown per handler; return what is not: messages and bytes received, running, dead letters."""
        with self._lock:
            for outcome, count in self._outcomes.items():
                page.add(catalogue.PROCESSED, (*key, outcome), count)
            page.histogram(catalogue.PROCESS_DURATION, key, self._durations)
            page.add(catalogue.EXPIRED, key, self._expired)
            for name, count in self._exceptions.values.items():
                page.add(catalogue.EXCEPTIONS, (*key, name), count)
            return self._messages, self._size, self._running, dict(self._dead.values)


def _collect_handlers(page: Page, handlers: Mapping[HandlerKey, _HandlerMetrics]) -> dict[HandlerKey, int]:
    """Add every handler, and the sums of those that share a topic (tasks do); return what each works on."""
    running: dict[HandlerKey, int] = {}
    received: Counter[tuple[str, str]] = Counter()
    size: Counter[tuple[str, str]] = Counter()
    dead: Counter[tuple[str, str, str]] = Counter()
    for key, handler in handlers.items():
        messages, octets, running[key], reasons = handler.collect(page, key)
        received[key[:2]] += messages
        size[key[:2]] += octets
        for reason, count in reasons.items():
            dead[(*key[:2], reason)] += count
    for metric, values in (
        (catalogue.RECEIVED, received),
        (catalogue.RECEIVED_BYTES, size),
        (catalogue.DEAD_LETTERS, dead),
    ):
        for labels, count in values.items():
            page.add(metric, labels, count)
    return running


class _GroupMetrics(GroupObserver):
    """One group; its group manager's thread calls it, scrapes read it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = Lock()
        self._rebalances = Counts(catalogue.REBALANCE_EVENTS)
        self._rebalance_durations = Histogram(catalogue.REBALANCE_DURATION.buckets)
        self._commits = Counts(catalogue.CONFIRMED)
        self._commit_durations = Histogram(catalogue.COMMIT_DURATION.buckets)
        self._restarts = Counts(catalogue.RESTARTED)
        self._halts = Counts(limit=MAX_TOPICS)
        self._errors = Counts()
        self._stale = 0
        self._cut = 0
        self._ignored = 0
        self._fetched = 0
        self._fetched_by_client: dict[str, int] = {}
        self._last_poll: float | None = None
        self._last_commit: float | None = None

    def assigned(self, partitions: Sequence[tuple[str, int]]) -> None:  # noqa: ARG002 - the event counts
        with self._lock:
            self._rebalances.add("assigned")

    def revoked(self, partitions: Sequence[tuple[str, int]], seconds: float) -> None:  # noqa: ARG002 - the event counts
        with self._lock:
            self._rebalances.add("revoked")
            self._rebalance_durations.observe(seconds)

    def lost(self, partitions: Sequence[tuple[str, int]]) -> None:  # noqa: ARG002 - the event counts
        with self._lock:
            self._rebalances.add("lost")

    def committed(self, outcome: str, seconds: float, offsets: Mapping[TopicPartition, int]) -> None:  # noqa: ARG002 - in the snapshot
        with self._lock:
            self._commits.add(outcome)
            self._commit_durations.observe(seconds)
            if outcome == "ok":
                self._last_commit = self._clock.now()

    def polled(self, now: float) -> None:  # noqa: ARG002 - a timestamp is exported, whichever clock the engine waits by
        self._last_poll = self._clock.now()

    def restarted(self, what: str, reason: str) -> None:  # noqa: ARG002 - free text is no label
        with self._lock:
            self._restarts.add(what)

    def stale(self, results: int) -> None:
        with self._lock:
            self._stale += results

    def metadata_cut(self, partitions: int) -> None:
        with self._lock:
            self._cut += partitions

    def metadata_ignored(self, partitions: int) -> None:
        with self._lock:
            self._ignored += partitions

    def halted(self, partition: tuple[str, int], reason: str) -> None:  # noqa: ARG002 - free text is no label
        with self._lock:
            self._halts.add(partition[0])

    def error(self, code: str, text: str) -> None:  # noqa: ARG002 - free text is no label
        with self._lock:
            self._errors.add(code)

    def statistics(self, stats: Mapping[str, Any]) -> None:
        client, fetched = str(stats.get("name", "")), int(stats.get("rxmsg_bytes", 0))
        with self._lock:
            before = self._fetched_by_client.get(client, 0)
            # a rebuilt client counts from 0 again
            self._fetched += fetched - before if fetched >= before else fetched
            self._fetched_by_client[client] = fetched

    def collect(self, page: Page, group: str) -> None:
        """Add everything of this group."""
        with self._lock:
            for metric, counts in (
                (catalogue.REBALANCES, self._rebalances),
                (catalogue.COMMITS, self._commits),
                (catalogue.RESTARTS, self._restarts),
                (catalogue.HALTS, self._halts),
                (catalogue.CLIENT_ERRORS, self._errors),
            ):
                for name, count in counts.values.items():
                    page.add(metric, (group, name), count)
            page.histogram(catalogue.REBALANCE_DURATION, (group,), self._rebalance_durations)
            page.histogram(catalogue.COMMIT_DURATION, (group,), self._commit_durations)
            page.add(catalogue.STALE, (group,), self._stale)
            page.add(catalogue.METADATA_CUT, (group,), self._cut)
            page.add(catalogue.METADATA_IGNORED, (group,), self._ignored)
            page.add(catalogue.FETCHED_BYTES, (group,), self._fetched)
            if self._last_poll is not None:
                page.add(catalogue.LAST_POLL, (group,), self._last_poll)
            if self._last_commit is not None:
                page.add(catalogue.LAST_COMMIT, (group,), self._last_commit)


class _ScheduleMetrics(ScheduleObserver):
    """One periodic task; the scheduler's thread calls it, scrapes read it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._fires = 0
        self._missed = 0
        self._held = 0
        self._delays = Histogram(catalogue.SCHEDULE_DELAY.buckets)

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

    def __init__(self) -> None:
        self._lock = Lock()
        # append and popleft are atomic with and without the GIL, so that a report takes no lock
        self._pending: deque[float] = deque()
        self._durations = Histogram(catalogue.SEND_DURATION.buckets)
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
