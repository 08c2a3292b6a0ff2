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

#: partitions of one process that have series of their own, unless the settings say otherwise
MOST_PARTITIONS = 500

#: (group, topic, handler) as labels; the topic is the pattern for a regex subscription
HandlerKey = tuple[str, str, str]
#: (group, topic, partition)
Key = tuple[str, str, int]
#: offsets behind, and the age of the oldest message that is not finished; None while that is not known
Behind = tuple[int | None, float | None]


def lag(snapshot: PartitionSnapshot) -> int | None:
    """Offsets from what is committed to the end, None while the end or the start is unknown.

    The end is the last stable offset: what is behind it cannot be read yet. Nothing committed: a group begins at the
    earliest offset (another start is committed at once), so all of the partition lies before it. A standalone handler
    commits nowhere, so its position counts.
    """
    end = snapshot.end if snapshot.end >= 0 else snapshot.high_watermark
    if end < 0:
        return None
    starts = [snapshot.position]
    if snapshot.group is not None:
        starts[:0] = [snapshot.committed, snapshot.low_watermark]
    start = next((offset for offset in starts if offset >= 0), None)
    if start is None:
        return None
    # the end may be known late; what was finished is certain
    return max(0, end - start, snapshot.position - start)


class PartitionGauges:
    """All gauges of assigned partitions; scrapes come one at a time (the caller holds a lock).

    `labels` is auto, on or off: whether each partition has series of its own.
    """

    def __init__(self, clock: Clock, labels: str = "auto") -> None:
        self._clock = clock
        self._labels = labels
        self._watched: list[Callable[[], Sequence[PartitionSnapshot]]] = []
        #: where a partition stood that was behind with nothing in hand, and since when it has stood there
        self._behind_since: dict[Key, tuple[tuple[int, int], float]] = {}

    def watch(self, snapshot: Callable[[], Sequence[PartitionSnapshot]]) -> None:
        """Ask `snapshot` too from now on."""
        self._watched.append(snapshot)

    def collect(self, page: Page, handlers: Mapping[HandlerKey, int]) -> dict[str, Counter[str]]:
        """Add every gauge; how many calls run, by group and handler.

        `handlers` says how many messages each works on, also those without a partition.
        """
        snapshots = [each for watched in tuple(self._watched) for each in _ask(watched)]
        _per_topic(page, handlers, snapshots)
        # of a topic of many tasks there may be one snapshot for each of them; of a partition that goes there is
        # nothing left to see from here on, because its next owner shows it
        once = {
            (each.group or "", each.topic, each.partition): each for each in reversed(snapshots) if not each.is_leaving
        }
        behind = self._behind(once)
        _lag_per_topic(page, handlers, once, behind)
        if self._labels == "on" or (self._labels == "auto" and len(once) <= MOST_PARTITIONS):
            for key, each in once.items():
                _per_partition(page, each, *behind[key])
        busy: dict[str, Counter[str]] = {}
        for each in snapshots:
            busy.setdefault(each.group or "", Counter())[each.handler] += each.running
        return busy

    def _behind(self, once: Mapping[Key, PartitionSnapshot]) -> dict[Key, Behind]:
        now, wall = self._clock.monotonic(), self._clock.now()
        before, self._behind_since = self._behind_since, {}
        found: dict[Key, Behind] = {}
        for key, each in once.items():
            offsets = lag(each)
            age: float | None = 0.0
            if each.oldest_timestamp is not None:
                # producers' clocks may run ahead of ours
                age = max(0.0, wall - each.oldest_timestamp)
            elif offsets is None:
                age = None
            elif offsets > 0:
                # between two looks fast handlers finish what they get: a lag that is never 0 is not old while it moves
                place = (each.committed, each.position)
                stood, since = before.get(key, (place, now))
                since = since if stood == place else now
                self._behind_since[key] = place, since
                age = now - since
            found[key] = offsets, age
        return found


def _per_partition(page: Page, each: PartitionSnapshot, behind: int | None, age: float | None) -> None:
    labels = (("group", each.group or ""), ("topic", each.topic), ("partition", str(each.partition)))
    if behind is not None:
        page.put(catalogue.LAG, labels, behind)
    if age is not None:
        page.put(catalogue.LAG_SECONDS, labels, age)
    if each.committed >= 0 and each.group is not None:
        page.put(catalogue.COMMITTED, labels, each.committed)
    if each.high_watermark >= 0:
        page.put(catalogue.HIGH_WATERMARK, labels, each.high_watermark)
    page.put(catalogue.UNCOMMITTED, labels, each.uncommitted)
    page.put(catalogue.HEAD_ATTEMPTS, labels, each.head_attempts)


def _lag_per_topic(
    page: Page,
    handlers: Collection[HandlerKey],
    once: Mapping[Key, PartitionSnapshot],
    behind: Mapping[Key, Behind],
) -> None:
    sums: dict[tuple[str, str], tuple[int, float]] = {key[:2]: (0, 0.0) for key in handlers}
    for key, each in once.items():
        labels = key[0], _label(handlers, each)
        offsets, oldest = sums.get(labels, (0, 0.0))
        sums[labels] = offsets + (behind[key][0] or 0), max(oldest, behind[key][1] or 0.0)
    for labels, (offsets, oldest) in sums.items():
        page.add(catalogue.TOPIC_LAG, labels, offsets)
        page.add(catalogue.TOPIC_LAG_SECONDS, labels, oldest)


def _per_topic(page: Page, handlers: Mapping[HandlerKey, int], snapshots: Sequence[PartitionSnapshot]) -> None:
    topics = dict.fromkeys((group, topic) for group, topic, _ in handlers)
    assigned: Counter[tuple[str, str]] = Counter(dict.fromkeys(topics, 0))
    waiting: Counter[tuple[str, str]] = Counter(dict.fromkeys(topics, 0))
    paused: Counter[tuple[str, str, str]] = Counter(
        {(*key, reason): 0 for key in topics for reason in catalogue.PAUSE_REASONS}
    )
    limits: Counter[tuple[str, str]] = Counter(dict.fromkeys(topics, 0))
    owned: set[tuple[str, str, int]] = set()
    for each in snapshots:
        group, topic = each.group or "", _label(handlers, each)
        waiting[group, topic] += each.buffered + each.in_progress
        if each.is_leaving or (group, each.topic, each.partition) in owned:
            continue
        owned.add((group, each.topic, each.partition))
        assigned[group, topic] += 1
        limits[group, topic] += each.limit
        if each.paused is not None:
            paused[group, topic, each.paused] += 1
    for key, running in handlers.items():
        page.add(catalogue.IN_PROGRESS, key, running)
        waiting[key[:2]] -= running
    for labels, count in waiting.items():
        # the two numbers are not of the same instant
        page.add(catalogue.BUFFERED, labels, max(0, count))
    for metric, counts in ((catalogue.ASSIGNED, assigned), (catalogue.BUFFER_LIMIT, limits)):
        for labels, count in counts.items():
            page.add(metric, labels, count)
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
    if (group, each.topic, each.handler) in known:
        return each.topic
    patterns = (
        topic
        for of_group, topic, handler in known
        if of_group == group and handler == each.handler and topic.startswith("^")
    )
    return next((pattern for pattern in patterns if re.search(pattern, each.topic)), each.topic)
