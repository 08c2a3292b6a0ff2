"""Offsets of partitions and of groups, asked and set through the one admin client; a part of elsa.kafka.admin."""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka import IsolationLevel as Isolation
from confluent_kafka import TopicPartition as RawPartition
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import Consumer

from elsa.errors import KafkaError
from elsa.kafka.clusterclient import TIMEOUT_SECONDS
from elsa.kafka.config import client_config
from elsa.kafka.errors import facts_of, translate
from elsa.kafka.topic_operations import TopicOperations
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

Place = Literal["earliest", "latest"]


class OffsetOperations(TopicOperations):
    """Where logs begin and end, and what groups have committed in them."""

    def offsets(
        self, partitions: Iterable[TopicPartition], place: Place | datetime, timeout: float = TIMEOUT_SECONDS
    ) -> dict[TopicPartition, int]:
        """The first offset, the end, or the first offset at or after a time, of many partitions in one request.

        The end is the last stable offset: what a reader of committed messages can reach. A time after the
        last message gives -1.
        """
        if place == "earliest":
            spec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # a gap in the client's stubs
        elif place == "latest":
            spec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above
        else:
            spec = OffsetSpec.for_timestamp(round(place.timestamp() * 1_000))
        wanted = {RawPartition(topic, partition): spec for topic, partition in partitions}
        return self._patiently(lambda left: self._list_offsets(wanted, left), timeout) if wanted else {}

    def ends(self, partitions: Iterable[TopicPartition], timeout: float = TIMEOUT_SECONDS) -> dict[TopicPartition, int]:
        """The last stable offsets, in one request; without those that cannot be told now (no leader, gone)."""
        spec = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # as above
        wanted = {RawPartition(topic, partition): spec for topic, partition in partitions}
        futures = self._client().list_offsets(wanted, isolation_level=Isolation.READ_COMMITTED, request_timeout=timeout)
        found = {}
        for raw, future in futures.items():
            with contextlib.suppress(KafkaError):
                facts = {"topic": raw.topic, "partition": raw.partition, "operation": "Describe"}
                found[TopicPartition(raw.topic, raw.partition)] = self._wait(future, timeout, **facts).offset
        return found

    def _list_offsets(self, wanted: Mapping[RawPartition, OffsetSpec], timeout: float) -> dict[TopicPartition, int]:
        futures = self._client().list_offsets(
            dict(wanted), isolation_level=Isolation.READ_COMMITTED, request_timeout=timeout
        )
        return {
            TopicPartition(raw.topic, raw.partition): self._wait(
                future, timeout, topic=raw.topic, partition=raw.partition, operation="Describe"
            ).offset
            for raw, future in futures.items()
        }

    def committed(self, group: str, timeout: float = TIMEOUT_SECONDS) -> dict[TopicPartition, int]:
        """The group's committed offsets; empty when it has none (or does not exist).

        confluent-kafka 2.16 crashes the process when `list_consumer_group_offsets` meets a coordinator that
        is moving or loading (as on a fresh cluster), so a consumer asks, which never joins the group.
        """
        counts = self.partition_counts(timeout)
        wanted = [RawPartition(topic, number) for topic, count in counts.items() for number in range(count)]
        consumer = Consumer(client_config(self._settings, "consumer", group_id=group, enable_auto_commit=False))
        try:
            ask = partial(self._committed, consumer, group, wanted)
            found = self._patiently(ask, timeout) if wanted else []
        finally:
            consumer.close()
        return committed_offsets(found)

    def _committed(
        self, consumer: Consumer, group: str, wanted: list[RawPartition], timeout: float
    ) -> list[RawPartition]:
        try:
            found: list[RawPartition] = consumer.committed(wanted, timeout=timeout)
        except KafkaException as error:
            # a coordinator that may not be asked looks like one that does not answer: the client tells it apart
            event = consumer.poll(0)
            told = event.error() if event is not None else None
            better = error if told is None else KafkaException(told)
            raise self._translated(better, group=group, operation="Describe") from error
        return found

    def alter_committed(
        self, group: str, offsets: Mapping[TopicPartition, int], timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """Set committed offsets of a group without members; raises GroupNotEmpty."""
        wanted = [RawPartition(topic, partition, offset) for (topic, partition), offset in offsets.items()]
        done = self._of_coordinator(partial(self._alter_committed, group, wanted), timeout)
        for raw in done.topic_partitions:
            if raw.error is not None:
                where = {"group": group, "topic": raw.topic, "partition": raw.partition}
                raise translate(raw.error, **facts_of(self._settings), **where, operation="Read")

    def _alter_committed(self, group: str, wanted: list[RawPartition], timeout: float) -> Any:
        futures = self._client().alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=timeout
        )
        return self._wait(futures[group], timeout, group=group, operation="Read")


def committed_offsets(lines: Iterable[Any]) -> dict[TopicPartition, int]:
    """The offsets of the partitions that have one."""
    return {
        TopicPartition(raw.topic, raw.partition): raw.offset for raw in lines if raw.error is None and raw.offset >= 0
    }
