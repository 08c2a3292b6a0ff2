"""What is asked and changed of topics, through the one admin client; a part of elsa.kafka.admin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka import TopicPartition as RawPartition
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.cimpl import NewPartitions, NewTopic

from elsa.errors import AuthorizationFailed, KafkaError
from elsa.kafka.clusterclient import TIMEOUT_SECONDS, ClusterClient
from elsa.kafka.errors import ClientError, facts_of, translate
from elsa.message import TopicPartition

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Iterator, Mapping, Sequence

#: errors of a look at several topics that say something of one of them
_OF_TOPICS = {
    "LEADER_NOT_AVAILABLE",
    "TOPIC_AUTHORIZATION_FAILED",
    "TOPIC_EXCEPTION",
    "UNKNOWN_TOPIC_OR_PART",
    "_UNKNOWN_TOPIC",
}


@dataclass(frozen=True, slots=True)
class PartitionInfo:
    """One partition of a topic: ids of its leader (None while it has none), its replicas and those in sync."""

    partition: int
    leader: int | None
    replicas: tuple[int, ...]
    isr: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Writable:
    """What a topic can take: its number of partitions and those without a leader, or why it takes nothing.

    A `refusal` that is `retryable` may pass.
    """

    partitions: int = 0
    leaderless: frozenset[int] = frozenset()
    refusal: KafkaError | None = None


class TopicOperations(ClusterClient):
    """Topics, their partitions, settings and records."""

    _has_controller = False

    def partition_counts(self, timeout: float = TIMEOUT_SECONDS) -> dict[str, int]:
        """Every topic with its number of partitions."""
        return {name: len(topic.partitions) for name, topic in self._metadata(timeout).topics.items()}

    def partitions(self, topic: str, timeout: float = TIMEOUT_SECONDS) -> list[PartitionInfo]:
        """The topic's partitions, in order; raises UnknownTopic. Never creates a topic."""
        if not topic:
            raise translate(ClientError(ClientError.TOPIC_EXCEPTION, "the name is empty"), topic=topic)
        if not self._has_controller:
            # librdkafka's mock cluster names a controller that does not exist: a describe would wait for it in vain
            found = self._metadata(timeout)
            self._has_controller = found.controller_id in found.brokers
            if not self._has_controller:
                return _listed(found, topic)
        infos = [
            PartitionInfo(
                each.id,
                each.leader.id if each.leader is not None and each.leader.id >= 0 else None,
                tuple(node.id for node in each.replicas),
                tuple(node.id for node in each.isr),
            )
            for each in self._describe_topic(topic, timeout).partitions
        ]
        return sorted(infos, key=lambda info: info.partition)

    def writable(self, topics: Sequence[str], timeout: float = TIMEOUT_SECONDS) -> dict[str, Writable]:
        """What each of these topics can take, in one request; never creates one.

        Raises what says nothing of a topic: no broker answers, the credentials are refused.
        """
        found = {}
        for topic, described in self._described(topics, timeout):
            if isinstance(described, KafkaError):
                found[topic] = Writable(refusal=described)
                continue
            refusal = None
            if _lacks(described, AclOperation.WRITE):
                refused = ClientError(ClientError.TOPIC_AUTHORIZATION_FAILED)
                missing = translate(refused, **facts_of(self._settings), topic=topic, operation="Write")
                assert isinstance(missing, KafkaError)
                refusal = missing
            leaderless = frozenset(p.id for p in described.partitions if p.leader is None or p.leader.id < 0)
            found[topic] = Writable(len(described.partitions), leaderless, refusal)
        return found

    def unreadable(self, topics: Sequence[str], timeout: float = TIMEOUT_SECONDS) -> set[str]:
        """Those of these topics that this client may not read, in one request; one that is missing is none of them.

        Raises what says nothing of a topic, as `writable` does.
        """
        return {
            topic
            for topic, described in self._described(topics, timeout)
            if (
                isinstance(described, AuthorizationFailed)
                if isinstance(described, KafkaError)
                else _lacks(described, AclOperation.READ)
            )
        }

    def _described(self, topics: Sequence[str], timeout: float) -> Iterator[tuple[str, Any]]:
        """Each of these topics with what the brokers say of it, or with the KafkaError that says why they do not."""
        futures = self._client().describe_topics(
            TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=timeout
        )
        for topic, future in futures.items():
            try:
                yield topic, self._wait(future, timeout, topic=topic, operation="Describe")
            except KafkaError as error:
                if error.code not in _OF_TOPICS:
                    raise
                yield topic, error

    def topic_id(self, topic: str, timeout: float = TIMEOUT_SECONDS) -> str:
        """The id that a topic has from its creation to its deletion; raises UnknownTopic."""
        return str(self._describe_topic(topic, timeout).topic_id)

    def _describe_topic(self, topic: str, timeout: float) -> Any:
        futures = self._client().describe_topics(TopicCollection([topic]), request_timeout=timeout)
        return self._wait(futures[topic], timeout, topic=topic, operation="Describe")

    def create_topic(
        self, topic: str, partitions: int, replicas: int, config: Mapping[str, str], timeout: float
    ) -> None:
        """Create a topic (-1 replicas: the broker's default); raises TopicExists, TopicError."""
        try:
            new = NewTopic(topic, num_partitions=partitions, replication_factor=replicas, config=dict(config))
            futures = self._client().create_topics([new], operation_timeout=timeout, request_timeout=timeout)
        except KafkaException as error:
            raise self._translated(error, topic=topic, operation="Create") from error
        self._wait(futures[topic], timeout, topic=topic, operation="Create")

    def delete_topic(self, topic: str, timeout: float) -> None:
        """Delete a topic; raises UnknownTopic."""
        futures = self._client().delete_topics([topic], operation_timeout=timeout, request_timeout=timeout)
        self._wait(futures[topic], timeout, topic=topic, operation="Delete")

    def add_partitions(self, topic: str, total: int, timeout: float) -> None:
        """Raise the topic's number of partitions to `total`; raises TopicError when it has as many."""
        futures = self._client().create_partitions(
            [NewPartitions(topic, total)], operation_timeout=timeout, request_timeout=timeout
        )
        self._wait(futures[topic], timeout, topic=topic, operation="Alter")

    def topic_config(self, topic: str, timeout: float = TIMEOUT_SECONDS) -> dict[str, str]:
        """Every setting of a topic, defaults included; secret ones are empty."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        futures = self._client().describe_configs([resource], request_timeout=timeout)
        entries = self._wait(futures[resource], timeout, topic=topic, operation="DescribeConfigs")
        return {name: "" if entry.value is None else str(entry.value) for name, entry in sorted(entries.items())}

    def alter_topic_config(
        self, topic: str, config: Mapping[str, str | None], timeout: float = TIMEOUT_SECONDS
    ) -> None:
        """Set the given settings and leave the others; None goes back to the default."""
        entries = [
            ConfigEntry(
                name,
                value if value is not None else "",
                incremental_operation=AlterConfigOpType.SET if value is not None else AlterConfigOpType.DELETE,
            )
            for name, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
        futures = self._client().incremental_alter_configs([resource], request_timeout=timeout)
        self._wait(futures[resource], timeout, topic=topic, operation="AlterConfigs")

    def delete_records(self, topic: str, before: Mapping[int, int], timeout: float) -> dict[int, int]:
        """Delete what lies below the offsets; returns each partition's first remaining offset."""
        wanted = [RawPartition(topic, partition, offset) for partition, offset in before.items()]
        futures = self._client().delete_records(wanted, operation_timeout=timeout, request_timeout=timeout)
        facts = {"topic": topic, "operation": "Delete"}
        return {
            raw.partition: self._wait(
                future, timeout, partition=raw.partition, offset=raw.offset, **facts
            ).low_watermark
            for raw, future in futures.items()
        }

    def begin_delete_records(
        self, before: Mapping[TopicPartition, int], timeout: float
    ) -> dict[TopicPartition, concurrent.futures.Future[Any]]:
        """Ask for all of it to be deleted that lies below the offsets; returns at once."""
        wanted = [RawPartition(*where, offset) for where, offset in before.items()]
        if not wanted:
            return {}
        futures = self._client().delete_records(wanted, operation_timeout=timeout, request_timeout=timeout)
        return {TopicPartition(raw.topic, raw.partition): future for raw, future in futures.items()}


def _listed(metadata: Any, topic: str) -> list[PartitionInfo]:
    """A topic's partitions as the cluster's metadata has them; raises UnknownTopic."""
    if topic not in metadata.topics:
        raise translate(ClientError(ClientError.UNKNOWN_TOPIC_OR_PART), topic=topic)
    return [
        PartitionInfo(each.id, each.leader if each.leader >= 0 else None, tuple(each.replicas), tuple(each.isrs))
        for _, each in sorted(metadata.topics[topic].partitions.items())
    ]


def _lacks(described: Any, operation: AclOperation) -> bool:
    """Whether this is not allowed on a topic; brokers that do not say what is do not refuse it either."""
    allowed = described.authorized_operations
    return bool(allowed) and operation not in allowed
