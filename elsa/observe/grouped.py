"""Counts what group managers do; a `GroupMetrics` for each group, kept by the PrometheusObserver."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any

from elsa.observe import catalogue
from elsa.observe.instruments import Counts, Histogram
from elsa.observer import GroupObserver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.clock import Clock
    from elsa.message import TopicPartition
    from elsa.observe.brokers import BrokerMetrics
    from elsa.observe.buckets import Buckets
    from elsa.observe.exposition import Page

#: topics whose halts are counted apart, further ones share the label value `_OTHER`
MAX_TOPICS = 1_000


class GroupMetrics(GroupObserver):
    """One group; its group manager's thread calls it, scrapes read it."""

    def __init__(self, clock: Clock, buckets: Buckets, brokers: BrokerMetrics) -> None:
        self._clock = clock
        self._brokers = brokers
        self._lock = Lock()
        self._rebalances = Counts(catalogue.REBALANCE_EVENTS)
        self._rebalance_durations = Histogram(buckets.of(catalogue.REBALANCE_DURATION))
        self._commits = Counts(catalogue.CONFIRMED)
        self._commit_durations = Histogram(buckets.of(catalogue.COMMIT_DURATION))
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
        self._seconds = dict.fromkeys(catalogue.STATES, 0.0)
        #: by handler: the places of its pools, by the pool's name
        self._pools: Mapping[str, Mapping[str, int]] = {}
        self._is_stable: bool | None = None

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

    def spent(self, seconds: Mapping[str, float]) -> None:
        with self._lock:
            for state, more in seconds.items():
                self._seconds[state] += more

    def slots(self, pools: Mapping[str, Mapping[str, int]]) -> None:
        # standalone handlers are told one by one
        self._pools = {**self._pools, **pools}

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
        if (member := stats.get("cgrp")) is not None:
            self._is_stable = member.get("join_state") == "steady"
        self._brokers.heard("consumer", stats)

    def collect(self, page: Page, group: str, busy: Mapping[str, int]) -> None:
        """Add everything of this group, whose handlers have so many calls running."""
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
            if self._is_stable is not None:
                page.add(catalogue.STABLE, (group,), int(self._is_stable))
            for handler in self._pools:
                page.add(catalogue.SLOTS, (group, handler), self._places(handler, busy))
                page.add(catalogue.SLOTS_BUSY, (group, handler), busy.get(handler, 0))
            if self._pools:
                for state, seconds in self._seconds.items():
                    page.add(catalogue.SECONDS, (group, state), seconds)

    def _places(self, handler: str, busy: Mapping[str, int]) -> int:
        """How many calls of a handler may run at once: what others run in a pool that they share is not open to it."""
        mine = self._pools[handler]
        others = sum(
            busy.get(other, 0)
            for other, pools in self._pools.items()
            if other != handler and pools.keys() & mine.keys()
        )
        # one is open to it even when others have all of them: its turn comes
        return max(1, busy.get(handler, 0), sum(mine.values()) - others)
