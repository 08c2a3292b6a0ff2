"""The engine's view of one confluent_kafka Consumer: made, polled and committed by one thread only.

confluent-kafka 2.16 makes a call from a second thread wait until the running poll returns; so the group
manager that owns this object is the only caller of every method.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_CREATE_TIME,
    TIMESTAMP_LOG_APPEND_TIME,
    KafkaException,
    TopicPartition,
)
from confluent_kafka.cimpl import Consumer

from elsa.errors import KafkaError
from elsa.kafka import codes, membership
from elsa.kafka.codes import Class, meaning
from elsa.kafka.config import client_config
from elsa.kafka.errors import facts_of, translate
from elsa.kafka.login import Login
from elsa.kafka.membership import Proof
from elsa.kafka.throttle import Throttle
from elsa.message import Message
from elsa.message import TopicPartition as Partition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from elsa.config import Settings
    from elsa.errors import ElsaError

log = logging.getLogger("elsa.kafka")

#: most messages that one slice takes from librdkafka
SLICE = 500
_TIMESTAMP_TYPES = {TIMESTAMP_CREATE_TIME: "create", TIMESTAMP_LOG_APPEND_TIME: "append"}

#: Defaults that the user's `kafka` settings may replace.
_TUNING: dict[str, Any] = {
    # what librdkafka holds back is thrown away by a pause, and rebalances queue behind it: keep it small
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 1_000,
    "max.partition.fetch.bytes": 262_144,
    # Of a thousand partitions one answer could bring 50 MB, and twice that in librdkafka's own records of it.
    "fetch.max.bytes": 4_194_304,
    "fetch.queue.backoff.ms": 5,
    # After a rebalance the kept partitions are fetched again only when the running request has come back.
    "fetch.wait.max.ms": 100,
}

#: of so many partitions the leaders are woken when partitions go on (a seek takes 0.1 ms)
_WAKING = 32

#: error codes of a commit after which this assignment's offsets are not ours to commit any more
FENCED = codes.numbers(codes.MEMBERSHIP, codes.FENCED_MEMBER)
#: of an offset that a transaction may still change
_UNSETTLED = codes.numbers("UNSTABLE_OFFSET_COMMIT")


class Committed(NamedTuple):
    """A commit as the broker keeps it."""

    offset: int
    metadata: str


class Commit(Protocol):
    """What is to be committed of one partition."""

    @property
    def offset(self) -> int: ...

    @property
    def metadata(self) -> str: ...


def to_message(raw: Any, generation: int | None = None) -> Message:
    """An elsa Message of a confluent_kafka one."""
    kind, milliseconds = raw.timestamp()
    return Message(
        raw.topic(),
        raw.partition(),
        raw.offset(),
        raw.key(),
        raw.value(),
        tuple(raw.headers() or ()),
        milliseconds / 1000 if kind else None,
        _TIMESTAMP_TYPES.get(kind, "none"),
        generation,
        raw.leader_epoch(),
    )


class GroupConsumer:
    """One consumer of one group; `group=None` makes a consumer that only ever assigns partitions itself.

    `is_committed_only=False`: also what transactions have written that are open, or were aborted.
    """

    def __init__(
        self,
        settings: Settings,
        group: str | None,
        *,
        instance: str | None = None,
        is_committed_only: bool = True,
        on_assign: Callable[[list[Partition]], None] | None = None,
        on_revoke: Callable[[list[Partition]], None] | None = None,
        on_lost: Callable[[list[Partition]], None] | None = None,
        on_commit: Callable[[ElsaError | None, bool, list[Partition]], None] | None = None,
        on_error: Callable[[ElsaError], None] | None = None,
        on_statistics: Callable[[Mapping[str, Any]], None] | None = None,
        on_throttled: Callable[[str, str, float], None] | None = None,
    ) -> None:
        #: what errors say of where they happened, and which right a member needs
        self._facts: dict[str, Any] = {**facts_of(settings), "group": group, "operation": "Read"}
        self.group = group
        self._on_assign = on_assign
        self._on_revoke = on_revoke
        self._on_lost = on_lost
        self._on_commit = on_commit
        self._on_error = on_error
        self._on_statistics = on_statistics
        self._throttle = Throttle("consumer", on_throttled)
        #: the member id under which the partitions came
        self._member: bytes | None = None
        #: partitions that were removed since a message was polled that its owner has not seen yet
        self._unassigned: set[Partition] = set()
        self._login = Login(settings)
        self._consumer = Consumer(self._config(settings, group, instance, is_committed_only=is_committed_only))

    def _config(
        self, settings: Settings, group: str | None, instance: str | None, *, is_committed_only: bool = True
    ) -> dict[str, Any]:
        owned: dict[str, Any] = {
            "group.id": group or f"{settings.name}-standalone",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": True,
            # an offset out of range must come to us, to be logged, counted and decided per handler
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "isolation.level": "read_committed" if is_committed_only else "read_uncommitted",
            "max.poll.interval.ms": int(settings.max_poll_interval * 1000),
            "topic.metadata.refresh.interval.ms": int(settings.metadata_refresh * 1000),
            "error_cb": self._error,
            "stats_cb": self._stats,
            "throttle_cb": self._throttle,
            "statistics.interval.ms": 15_000,
            "on_commit": self._committed,
        }
        owned |= {key: value for key, value in _TUNING.items() if key not in settings.kafka}
        if group is not None and settings.group_protocol == "consumer":
            owned["group.protocol"] = "consumer"
        else:
            # also without a group: the client refuses a poll interval that is shorter than its own 45 s
            owned["session.timeout.ms"] = int(settings.session_timeout * 1000)
            owned["heartbeat.interval.ms"] = int(settings.heartbeat_interval * 1000)
            if group is not None:
                owned["partition.assignment.strategy"] = "cooperative-sticky"
                if instance is not None:
                    owned["group.instance.id"] = instance
        return client_config(settings, "consumer", **owned)

    # -- callbacks: they run inside poll/consume/close, on the owner's thread; an exception there would
    # surface from poll as if Kafka had failed, so none may leave them (the group manager's catch their own)

    def _error(self, error: Any) -> None:
        self._login.hear(error)
        if self._on_error is not None:
            self._on_error(translate(error, **self._facts))

    def _stats(self, text: str) -> None:
        if self._on_statistics is not None:
            self._on_statistics(json.loads(text))

    def _committed(self, error: Any, partitions: Sequence[Any]) -> None:
        if self._on_commit is None:
            return
        # one partition that is refused (its topic is gone) says nothing of the others
        refused, taken = [p for p in partitions if _refuses(p.error)], [p for p in partitions if not _refuses(p.error)]
        if _refuses(error) and not refused:
            refused, taken = taken, []
        if taken:
            self._on_commit(None, False, _plain(taken))
        if refused:
            failed = refused[0].error or error
            places = _plain(refused)
            told = translate(failed, **self._facts, **places[0]._asdict())
            self._on_commit(told, failed.code() in FENCED, places)

    # -- membership ----------------------------------------------------------------------------------

    def subscribe(self, topics: Sequence[str]) -> None:
        self._consumer.subscribe(
            list(topics),
            on_assign=lambda _, parts: self._came(_plain(parts)),
            on_revoke=lambda _, parts: self._went(_plain(parts)),
            on_lost=lambda _, parts: self._were_lost(_plain(parts)),
        )

    # A static member that was expelled while it was away, and hears of it when it asks to join, joins as another member
    # without a word (librdkafka 2.16): it claims the partitions that it had, gets them again, and goes on with them,
    # though others have worked on them meanwhile. So the member id says whether partitions are still what they were.

    def _came(self, partitions: list[Partition]) -> None:
        known, self._member = self._member, membership.member(self._consumer.consumer_group_metadata())
        stale = [] if known in (None, self._member) else self.assigned()
        if stale:
            self._tell_lost(stale)
        if self._on_assign is not None:
            self._on_assign([*partitions, *stale])

    def _went(self, partitions: list[Partition]) -> None:
        if self._is_replaced(self._consumer.consumer_group_metadata()):
            self._tell_lost(partitions)
        elif self._on_revoke is not None:
            self._on_revoke(partitions)

    def _were_lost(self, partitions: list[Partition]) -> None:
        self._member = None
        if self._on_lost is not None:
            self._on_lost(partitions)

    def _tell_lost(self, partitions: list[Partition]) -> None:
        log.warning(
            "this member was expelled from its group and has joined anew: its partitions begin at their last commits",
            extra={"event": "expelled", "group": self.group, "partitions": len(partitions)},
        )
        if self._on_lost is not None:
            self._on_lost(partitions)

    def _is_replaced(self, metadata: Any) -> bool:
        """Whether what we have came to another member, and we have not heard of that yet."""
        return self._member is not None and membership.member(metadata) != self._member

    def unsubscribe(self) -> None:
        self._consumer.unsubscribe()

    def assign(self, offsets: Mapping[Partition, int]) -> None:
        """Add partitions at these offsets (negative: the log's beginning)."""
        if offsets:
            self._consumer.incremental_assign(_lines(offsets))

    def unassign(self, partitions: Iterable[Partition]) -> bool:
        """Remove those that were added; whether others are left.

        Librdkafka refuses all when one of them was not. Within `close` it may have ended the membership as soon as the
        last ones are gone, and whatever it is asked then it never answers (2.16), with the interpreter's lock held.
        """
        ours = set(self.assigned())
        gone = [p for p in partitions if p in ours]
        self._unassigned.update(gone)
        if lines := [TopicPartition(*p) for p in gone]:
            self._consumer.incremental_unassign(lines)
        return len(gone) < len(ours)

    def assigned(self) -> list[Partition]:
        return _plain(self._consumer.assignment())

    def proof(self) -> Proof | None:
        """What a transaction takes as the proof of our membership; None when it would prove nothing, or not ours."""
        metadata = self._consumer.consumer_group_metadata()
        return None if self._is_replaced(metadata) or not membership.proves(metadata) else Proof(self.group, metadata)

    def generation(self) -> int | None:
        """The group's generation; None when this version of librdkafka writes its metadata another way."""
        try:
            return membership.generation(self._consumer.consumer_group_metadata())
        except (KafkaException, TypeError, RuntimeError):
            return None

    # -- messages ------------------------------------------------------------------------------------

    def poll(self, timeout: float, most: int = SLICE) -> list[Any]:
        """Up to `most` messages and events (those have an error), at once if there are any; runs callbacks.

        `consume(n, t)` waits its whole timeout for n messages, `poll(t)` returns with the first: so drain
        what is there, and only when there is nothing wait for one.
        """
        self._login.tend(self._consumer)
        found: list[Any] = self._consumer.consume(most, 0)
        if not found and timeout > 0:
            first: Any = self._consumer.poll(timeout)
            if first is not None:
                self._unassigned.clear()
                found = self._consumer.consume(most - 1, 0)
                # A callback that ran in between may have taken its partition, and given it again at an earlier offset.
                # (What one `consume` had gathered before a callback is thrown away by librdkafka itself.)
                # An event is news also then: that a topic is gone comes with the loss of its partitions.
                if first.error() is not None or Partition(first.topic(), first.partition()) not in self._unassigned:
                    found.insert(0, first)
        return found

    def seek(self, partition: Partition, offset: int) -> None:
        self._consumer.seek(TopicPartition(*partition, offset))

    def reassign(self, partition: Partition, offset: int) -> None:
        """Go on at another offset, also where the fetch has stopped on an error (a seek is refused there)."""
        self._consumer.incremental_unassign([TopicPartition(*partition)])
        self._consumer.incremental_assign([TopicPartition(*partition, offset)])

    def pause(self, partitions: Iterable[Partition]) -> None:
        self._consumer.pause([TopicPartition(*p) for p in partitions])

    def resume(self, partitions: Iterable[Partition]) -> None:
        self._consumer.resume([TopicPartition(*p) for p in partitions])

    def resume_at(self, offsets: Mapping[Partition, int]) -> None:
        """Go on with paused partitions at once, at the offsets that come next (negative: not known).

        librdkafka (2.16) fetches a resumed partition only when the thread of its broker looks again by itself, which is
        up to a second later while it has nothing else to fetch. A seek wakes that thread; some of them wake all.
        """
        self.resume(offsets)
        known = ((partition, offset) for partition, offset in offsets.items() if offset >= 0)
        for partition, offset in itertools.islice(known, _WAKING):
            # one that is not being fetched at this moment (its leader is away) refuses, and goes on by itself
            with contextlib.suppress(KafkaException):
                self.seek(partition, offset)

    # -- offsets -------------------------------------------------------------------------------------

    def commit(self, commits: Mapping[Partition, Commit]) -> None:
        """Start a commit; `on_commit` tells how it ended. Raises KafkaError when we are another member by now."""
        if (error := self._expelled()) is not None:
            raise error
        self._consumer.commit(offsets=_commit_lines(commits), asynchronous=True)

    def commit_now(self, commits: Mapping[Partition, Commit]) -> tuple[ElsaError | None, bool]:
        """Commit and wait; (the error, whether it means that the offsets are not ours any more)."""
        if (expelled := self._expelled()) is not None:
            return expelled, True
        try:
            result = self._consumer.commit(offsets=_commit_lines(commits), asynchronous=False)
        except KafkaException as error:
            # the answer names no topic
            topics = {partition.topic for partition in commits}
            place = {"topic": topics.pop()} if len(topics) == 1 else {}
            return translate(error, **self._facts, **place), error.args[0].code() in FENCED
        for line in result or ():
            if line.error is not None and _refuses(line.error):
                where = {"topic": line.topic, "partition": line.partition}
                return translate(line.error, **self._facts, **where), line.error.code() in FENCED
        return None, False

    def _expelled(self) -> KafkaError | None:
        """Why nothing may be committed: Kafka would take it, from the member that we are now."""
        if self._member is None or not self._is_replaced(self._consumer.consumer_group_metadata()):
            return None
        return KafkaError("this member was expelled from its group meanwhile", code="UNKNOWN_MEMBER_ID", retryable=True)

    def committed(self, partitions: Iterable[Partition], timeout: float) -> dict[Partition, Committed | None]:
        """The group's commits, None where there is none; raises the translated error."""
        try:
            found = self._consumer.committed([TopicPartition(*p) for p in partitions], timeout=timeout)
        except KafkaException as error:
            raise translate(error, **self._facts) from error
        for line in found:
            if line.error is not None:
                raise translate(line.error, **self._facts, topic=line.topic, partition=line.partition)
        return {
            Partition(p.topic, p.partition): Committed(p.offset, p.metadata or "") if p.offset >= 0 else None
            for p in found
        }

    def settled(self, partitions: Iterable[Partition], timeout: float) -> dict[Partition, Committed | None]:
        """As `committed`, without those on whose offsets a transaction hangs that may still be committed.

        librdkafka 2.16 asks again until there are none: then BrokerUnavailable comes when the time is over.
        """
        wanted = [TopicPartition(*p) for p in partitions]
        try:
            found = self._consumer.committed(wanted, timeout=timeout)
        except KafkaException as error:
            if error.args[0].code() in _UNSETTLED:
                return {}
            raise translate(error, **self._facts) from error
        lines = {}
        for line in found:
            if line.error is None:
                committed = Committed(line.offset, line.metadata or "") if line.offset >= 0 else None
                lines[Partition(line.topic, line.partition)] = committed
            elif line.error.code() not in _UNSETTLED:
                raise translate(line.error, **self._facts, topic=line.topic, partition=line.partition)
        return lines

    def watermarks(self, partition: Partition, timeout: float) -> tuple[int, int]:
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), timeout=timeout)
        except KafkaException as error:
            raise translate(error, **self._facts, **partition._asdict()) from error
        return low, high

    def cached_watermarks(self, partition: Partition) -> tuple[int, int]:
        """What the last fetch said, -1 for what is not known yet; no network."""
        try:
            low, high = self._consumer.get_watermark_offsets(TopicPartition(*partition), cached=True)
        except KafkaException:
            return -1, -1
        return max(low, -1), max(high, -1)

    def offsets_at(self, partitions: Iterable[Partition], milliseconds: int, timeout: float) -> dict[Partition, int]:
        """The first offset at or after a time; -1 where there is none (then the log's end is meant)."""
        try:
            found = self._consumer.offsets_for_times(
                [TopicPartition(*p, milliseconds) for p in partitions], timeout=timeout
            )
        except KafkaException as error:
            raise translate(error, **self._facts) from error
        return {Partition(p.topic, p.partition): p.offset for p in found}

    def refresh_metadata(self, timeout: float) -> None:
        """Ask for all topics now, which makes librdkafka look at its subscription again."""
        try:
            self._consumer.list_topics(timeout=timeout)
        except KafkaException as error:
            log.debug("metadata could not be refreshed: %s", error)

    def close(self) -> None:
        self._consumer.close()


BEGINNING = OFFSET_BEGINNING


def _refuses(error: Any) -> bool:
    """Whether this part of a commit's answer is a refusal."""
    return bool(error) and meaning(error).name is not Class.IGNORE


def _lines(offsets: Mapping[Partition, int]) -> list[Any]:
    return [TopicPartition(*partition, offset) for partition, offset in offsets.items()]


def _commit_lines(commits: Mapping[Partition, Commit]) -> list[Any]:
    return [TopicPartition(*partition, one.offset, one.metadata) for partition, one in commits.items()]


def _plain(partitions: Iterable[Any]) -> list[Partition]:
    return [Partition(p.topic, p.partition) for p in partitions]
