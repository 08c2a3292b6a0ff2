"""Gauges computed when somebody looks: from the engine's snapshot of its assigned partitions.

`metrics` calls it once per scrape. A partition that was revoked is not in the snapshot and so has no
series left; nothing has to be removed.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from typing import TYPE_CHECKING

from elsa.observe import catalogue

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from elsa.clock import Clock
    from elsa.observe.exposition import Page
    from elsa.observer import PartitionSnapshot

_log = logging.getLogger(__name__)

#: (group, topic, handler) as labels; the topic is the pattern for a regex subscription
HandlerKey = tuple[str, str, str]


def lag(snapshot: PartitionSnapshot) -> int | None:
    """Offsets from what is finished to the end, None while the end or the start is unknown.

    Nothing committed: a group begins at the earliest offset (another start is committed at once), so all
    of the partition lies before it. A standalone handler commits nowhere, so its position counts.
    """
    if snapshot.high_watermark < 0:
        return None
    starts = [snapshot.position]
    if snapshot.group is not None:
        starts[:0] = [snapshot.committed, snapshot.low_watermark]
    start = next((offset for offset in starts if offset >= 0), None)
    if start is None:
        return None
    # the cached watermark stands still while nothing is fetched; what was finished is certain
    return max(0, snapshot.high_watermark - start, snapshot.position - start)


class PartitionGauges:
    """All gauges of assigned partitions; scrapes come one at a time (the caller holds a lock)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._watched: list[Callable[[], Sequence[PartitionSnapshot]]] = []
        self._behind_since: dict[tuple[str, str, int], float] = {}

    def watch(self, snapshot: Callable[[], Sequence[PartitionSnapshot]]) -> None:
        """Ask `snapshot` too from now on."""
        self._watched.append(snapshot)

    def collect(self, page: Page, handlers: Mapping[HandlerKey, int]) -> None:
        """Add every gauge; `handlers` says how many messages each works on, also those without a partition."""
        snapshots = [each for watched in tuple(self._watched) for each in _ask(watched)]
        _per_topic(page, handlers, snapshots)
        # of a topic of many tasks there may be one snapshot for each of them
        once = {(each.group or "", each.topic, each.partition): each for each in reversed(snapshots)}
        now = self._clock.monotonic()
        self._behind_since = {
            key: self._behind_since.get(key, now)
            for key, each in once.items()
            if lag(each) and each.oldest_timestamp is None
        }
        for key, each in once.items():
            self._per_partition(page, each, key, now - self._behind_since.get(key, now))

    def _per_partition(
        self, page: Page, each: PartitionSnapshot, key: tuple[str, str, int], behind_seconds: float
    ) -> None:
        labels = (key[0], key[1], str(key[2]))
        behind = lag(each)
        if behind is not None:
            page.add(catalogue.LAG, labels, behind)
        if each.oldest_timestamp is not None:
            # producers' clocks may run ahead of ours
            page.add(catalogue.LAG_SECONDS, labels, max(0.0, self._clock.now() - each.oldest_timestamp))
        elif behind is not None:
            page.add(catalogue.LAG_SECONDS, labels, behind_seconds)
        if each.committed >= 0 and each.group is not None:
            page.add(catalogue.COMMITTED, labels, each.committed)
        if each.high_watermark >= 0:
            page.add(catalogue.HIGH_WATERMARK, labels, each.high_watermark)
        page.add(catalogue.UNCOMMITTED, labels, each.uncommitted)
        page.add(catalogue.HEAD_ATTEMPTS, labels, each.head_attempts)


def _per_topic(page: Page, handlers: Mapping[HandlerKey, int], snapshots: Sequence[PartitionSnapshot]) -> None:
    topics = dict.fromkeys((group, topic) for group, topic, _ in handlers)
    assigned: Counter[tuple[str, str]] = Counter(dict.fromkeys(topics, 0))
    waiting: Counter[tuple[str, str]] = Counter(dict.fromkeys(topics, 0))
    paused: Counter[tuple[str, str, str]] = Counter(
        {(*key, reason): 0 for key in topics for reason in catalogue.PAUSE_REASONS}
    )
    owned: set[tuple[str, str, int]] = set()
    for each in snapshots:
        group, topic = each.group or "", _label(handlers, each)
        waiting[group, topic] += each.buffered + each.in_progress
        if (group, each.topic, each.partition) in owned:
            continue
        owned.add((group, each.topic, each.partition))
        assigned[group, topic] += 1
        if each.paused is not None:
            paused[group, topic, each.paused] += 1
    for key, running in handlers.items():
        page.add(catalogue.IN_PROGRESS, key, running)
        waiting[key[:2]] -= running
    for labels, count in waiting.items():
        # the two numbers are not of the same instant
        page.add(catalogue.BUFFERED, labels, max(0, count))
    for labels, count in assigned.items():
        page.add(catalogue.ASSIGNED, labels, count)
    for reasons, count in paused.items():
        page.add(catalogue.PAUSED, reasons, count)


def _ask(watched: Callable[[], Sequence[PartitionSnapshot]]) -> Sequence[PartitionSnapshot]:
    try:
        return watched()
    except Exception:
        # the border to the engine: counters must stay readable while a part of it is being torn down
        _log.warning("partitions can not be shown in the metrics", exc_info=True, extra={"event": "snapshot_failed"})
        return ()


def _label(known: Collection[HandlerKey], each: PartitionSnapshot) -> str:
    """The topic label of a snapshot: the pattern, where the handler subscribed to a pattern."""
    group = each.group or ""
    patterns = []
    for key_group, topic, handler in known:
        if key_group == group and handler == each.handler:
            if topic == each.topic:
                return topic
            if topic.startswith("^"):
                patterns.append(topic)
    return next((pattern for pattern in patterns if re.search(pattern, each.topic)), each.topic)
