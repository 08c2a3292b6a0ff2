"""Reads topics without a consumer group: fetch, stream, follow and search; called by App and command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from elsa.clock import SYSTEM
from elsa.errors import BrokerUnavailable, OffsetOutOfRange, UnknownPartition
from elsa.kafka.admin import Admin
from elsa.kafka.reader import EndOfPartition, OutOfRange, Reader
from elsa.message import Message, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.config import Settings

#: "earliest", "latest", an offset, or the first message at or after a time
Place = str | int | datetime
#: a Place for all partitions, or one for each
Bound = Place | Mapping[int, Place]

#: a stream that gets nothing for so long, before its end, raises BrokerUnavailable
STALLED_SECONDS = 30.0
_TURN_SECONDS = 0.5
_FETCH_PREFETCH_KILOBYTES = 1_024
#: what is to be read is there: a broker that holds its answer back only delays the next partition
_SHORT_WAIT = 10


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What one fetch gave.

    `high_watermark` is the end of the partition for readers of committed messages, `next_offset` where the
    next fetch goes on (past gaps and transaction markers, so it may be more than one after the last message).
    """

    messages: list[Message]
    high_watermark: int
    next_offset: int


class Fetcher:
    """Reads without a group: nothing is committed, and no consumer group is left on the broker.

    Methods may be called from any thread; an iterator they return belongs to one thread at a time. Only
    committed messages are read.

    ```python
    app.fetch("orders", partition=0, offset=3).messages
    for message in app.stream("orders", start=datetime(2026, 1, 31, tzinfo=UTC)): ...
    ```
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._admin = Admin(settings)

    def fetch(
        self,
        topic: str,
        partition: int = 0,
        offset: Place = "earliest",
        *,
        max_records: int = 500,
        timeout: float = 1.0,
    ) -> FetchResult:
        """What lies in one partition from `offset` on, at most `max_records`.

        At the end of the partition it waits up to `timeout` seconds for a message, then returns none.
        Raises OffsetOutOfRange(low, high) for an offset outside the log, UnknownTopic, UnknownPartition.
        """
        if max_records < 1:
            raise ValueError(f"max_records is {max_records}, it must be at least 1")
        where = TopicPartition(topic, partition)
        self._partitions(topic, partition)
        low, high = self._admin.offsets([where], "earliest")[where], self._admin.offsets([where], "latest")[where]
        start = self._resolve(offset, [where], {where: low}, {where: high})[where]
        if not low <= start <= high:
            raise OffsetOutOfRange(
                f"offset {start} of {where} lies outside the log, which has {low}..{high}",
                code="OFFSET_OUT_OF_RANGE",
                low=low,
                high=high,
                topic=topic,
                partition=partition,
                offset=start,
            )
        messages: list[Message] = []
        position = start
        began = SYSTEM.monotonic()
        with Reader(
            self._settings, prefetch_kilobytes=_FETCH_PREFETCH_KILOBYTES, wait_milliseconds=_SHORT_WAIT
        ) as reader:
            reader.assign(topic, {partition: start})
            while len(messages) < max_records and (left := began + timeout - SYSTEM.monotonic()) > 0:
                for event in reader.read(left, max_records - len(messages)):
                    if isinstance(event, OutOfRange):
                        raise self._vanished(event, low, high)
                    if isinstance(event, Message):
                        messages.append(event)
                        position = event.offset + 1
                    else:
                        position = max(position, event.offset)
                if messages and position >= high:
                    break
        return FetchResult(messages, max(high, position), position)

    def stream(
        self,
        topic: str,
        *,
        start: Bound | None = None,
        end: Bound | None = None,
        partitions: int | Iterable[int] | None = None,
    ) -> Iterator[Message]:
        """Iterate over the messages from `start` (default earliest) up to, not including, `end` (default latest).

        A bound is "earliest", "latest", an offset, a datetime, or {partition: one of these} (a partition that
        the mapping lacks has the default). Offsets outside the log are moved to its nearest end. Partitions
        come one after the other, lowest first, each in offset order. Lazy: nothing is asked of Kafka before
        the first `next`, which also fixes the end, so messages produced while iterating are not returned.

        The client is closed when the iterator ends, is closed or is collected. Raises UnknownTopic,
        UnknownPartition, and BrokerUnavailable when nothing came for 30 s.
        """
        wanted = self._partitions(topic, partitions)
        low, high = self._admin.offsets(wanted, "earliest"), self._admin.offsets(wanted, "latest")
        first = self._bound(start, "earliest", wanted, low, high)
        last = self._bound(end, "latest", wanted, low, high)
        ahead = [where for where in wanted if first[where] < last[where]]
        if not ahead:
            return
        with Reader(self._settings, wait_milliseconds=_SHORT_WAIT) as reader:
            for where in ahead:
                yield from self._partition(reader, where, first[where], last[where])

    def _partition(self, reader: Reader, where: TopicPartition, position: int, end: int) -> Iterator[Message]:
        reader.assign(where.topic, {where.partition: position})
        heard = SYSTEM.monotonic()
        while position < end:
            events = reader.read(_TURN_SECONDS)
            if not events and SYSTEM.monotonic() - heard > STALLED_SECONDS:
                raise BrokerUnavailable(
                    f"nothing came from {where} for {STALLED_SECONDS:g} s at offset {position}, its end is {end}",
                    topic=where.topic,
                    partition=where.partition,
                    offset=position,
                )
            for event in events:
                if event.partition != where.partition:
                    continue  # left over from the assignment before
                if isinstance(event, OutOfRange):
                    # retention went by: go on with what is left
                    position = max(position, self._admin.offsets([where], "earliest")[where])
                    reader.assign(where.topic, {where.partition: position})
                    break
                if isinstance(event, EndOfPartition):
                    position = max(position, event.offset)
                    continue
                position = event.offset + 1
                if event.offset >= end:
                    break
                yield event
            heard = SYSTEM.monotonic() if events else heard

    def follow(
        self, topic: str, *, start: Bound = "latest", partitions: int | Iterable[int] | None = None
    ) -> Iterator[Message]:
        """Iterate for ever over the messages from `start` on, those still to come included.

        Messages of several partitions are interleaved as they arrive. Waits while Kafka is away; partitions
        that are added are read from their beginning. Close the iterator to end it.
        """
        wanted = self._partitions(topic, partitions)
        low, high = self._admin.offsets(wanted, "earliest"), self._admin.offsets(wanted, "latest")
        first = self._bound(start, "latest", wanted, low, high)
        known = {where.partition for where in wanted}
        looked = SYSTEM.monotonic()
        with Reader(self._settings) as reader:
            reader.assign(topic, {where.partition: first[where] for where in wanted})
            while True:
                for event in reader.read(_TURN_SECONDS):
                    if isinstance(event, Message):
                        yield event
                    elif isinstance(event, OutOfRange):
                        where = TopicPartition(topic, event.partition)
                        reader.seek(topic, event.partition, self._admin.offsets([where], "earliest")[where])
                if partitions is None and SYSTEM.monotonic() - looked > self._settings.metadata_refresh:
                    new = self._added(topic, known)
                    if new:
                        reader.add(topic, dict.fromkeys(new, 0))
                        known |= new
                    looked = SYSTEM.monotonic()

    def search(
        self,
        topic: str,
        predicate: Callable[[Message], bool],
        *,
        start: Bound | None = None,
        end: Bound | None = None,
        partitions: int | Iterable[int] | None = None,
    ) -> Iterator[Message]:
        """The messages of `stream` for which `predicate` is true; lazy, and it ends."""
        return filter(predicate, self.stream(topic, start=start, end=end, partitions=partitions))

    def search_keys(
        self,
        topic: str,
        text: str | bytes,
        *,
        start: Bound | None = None,
        end: Bound | None = None,
        partitions: int | Iterable[int] | None = None,
    ) -> Iterator[Message]:
        """The messages whose key contains `text`, byte for byte; one without a key never does."""
        term = text.encode() if isinstance(text, str) else text
        return self.search(
            topic, lambda m: m.key is not None and term in m.key, start=start, end=end, partitions=partitions
        )

    def search_values(
        self,
        topic: str,
        text: str | bytes,
        *,
        start: Bound | None = None,
        end: Bound | None = None,
        partitions: int | Iterable[int] | None = None,
    ) -> Iterator[Message]:
        """The messages whose value contains `text`, byte for byte; a tombstone never does."""
        term = text.encode() if isinstance(text, str) else text
        return self.search(
            topic, lambda m: m.value is not None and term in m.value, start=start, end=end, partitions=partitions
        )

    def _partitions(self, topic: str, partitions: int | Iterable[int] | None) -> list[TopicPartition]:
        """The partitions to read, in order; raises UnknownTopic, UnknownPartition."""
        existing = [info.partition for info in self._admin.partitions(topic)]
        wanted = existing if partitions is None else [partitions] if isinstance(partitions, int) else partitions
        chosen = sorted(set(wanted))
        for partition in chosen:
            if partition not in existing:
                raise UnknownPartition(
                    f"topic {topic!r} has no partition {partition}, only 0..{len(existing) - 1}",
                    code="_UNKNOWN_PARTITION",
                    topic=topic,
                    partition=partition,
                )
        return [TopicPartition(topic, partition) for partition in chosen]

    def _added(self, topic: str, known: set[int]) -> set[int]:
        try:
            return {info.partition for info in self._admin.partitions(topic)} - known
        except BrokerUnavailable:
            return set()

    def _bound(
        self,
        bound: Bound | None,
        default: str,
        partitions: list[TopicPartition],
        low: Mapping[TopicPartition, int],
        high: Mapping[TopicPartition, int],
    ) -> dict[TopicPartition, int]:
        """The offset that a bound means in each partition, within its log."""
        if isinstance(bound, Mapping):
            known = {where.partition for where in partitions}
            strange = [partition for partition in bound if partition not in known]
            if strange:
                raise UnknownPartition(f"a bound names partition {strange[0]}, which is not read: {sorted(known)} are")
            found: dict[TopicPartition, int] = {}
            for where in partitions:
                found |= self._resolve(bound.get(where.partition, default), [where], low, high)
        else:
            found = self._resolve(default if bound is None else bound, partitions, low, high)
        return {where: min(max(offset, low[where]), high[where]) for where, offset in found.items()}

    def _resolve(
        self,
        place: Place,
        partitions: list[TopicPartition],
        low: Mapping[TopicPartition, int],
        high: Mapping[TopicPartition, int],
    ) -> dict[TopicPartition, int]:
        if place == "earliest":
            return {where: low[where] for where in partitions}
        if place == "latest":
            return {where: high[where] for where in partitions}
        if isinstance(place, datetime):
            found = self._admin.offsets(partitions, place)
            return {where: found[where] if found[where] >= 0 else high[where] for where in partitions}
        if isinstance(place, int) and not isinstance(place, bool):
            return dict.fromkeys(partitions, place)
        raise ValueError(f"{place!r} is no place in a topic: use 'earliest', 'latest', an offset or a datetime")

    @staticmethod
    def _vanished(event: OutOfRange, low: int, high: int) -> OffsetOutOfRange:
        return OffsetOutOfRange(
            f"offset {event.offset} of {event.topic}[{event.partition}] was deleted while it was read",
            code="OFFSET_OUT_OF_RANGE",
            low=low,
            high=high,
            topic=event.topic,
            partition=event.partition,
            offset=event.offset,
        )
