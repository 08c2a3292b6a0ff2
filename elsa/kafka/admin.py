"""One confluent_kafka AdminClient with Elsa's values and errors; used by elsa.topics, elsa.groups and elsa.fetcher."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import struct
import threading
import warnings
import weakref
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicCollection
from confluent_kafka import IsolationLevel as Isolation
from confluent_kafka import TopicPartition as RawPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import AclOperation
from confluent_kafka.admin._config import AlterConfigOpType, ConfigEntry, ConfigResource
from confluent_kafka.admin._listoffsets import OffsetSpec
from confluent_kafka.cimpl import Consumer, NewPartitions, NewTopic

from elsa.clock import SYSTEM
from elsa.errors import BrokerUnavailable, ConfigError, ElsaError, KafkaError
from elsa.kafka import identity
from elsa.kafka.config import client_config
from elsa.kafka.errors import ClientError, Reports, translate
from elsa.kafka.login import Login
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from elsa.config import Settings

T = TypeVar("T")

#: default limit of every call, seconds
TIMEOUT_SECONDS = 5.0
_RETRY_SECONDS = 0.05
#: errors of a look at several topics that say something of one of them
_OF_TOPICS = {
    "LEADER_NOT_AVAILABLE",
    "TOPIC_AUTHORIZATION_FAILED",
    "TOPIC_EXCEPTION",
    "UNKNOWN_TOPIC_OR_PART",
    "_UNKNOWN_TOPIC",
}
Place = Literal["earliest", "latest"]


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


@dataclass(frozen=True, slots=True)
class MemberInfo:
    """One member of a consumer group and what is assigned to it."""

    member: str
    client: str
    host: str
    instance: str | None
    partitions: tuple[TopicPartition, ...]


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A consumer group as its coordinator knows it; `protocol` is classic or consumer."""

    name: str
    state: str
    protocol: str
    assignor: str
    coordinator: str
    members: tuple[MemberInfo, ...]


class Admin:
    """Every method may be called from any thread; each takes at most `timeout` seconds and raises Elsa's errors.

    The client is made at the first call, and again in a forked child.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._pause = threading.Event()
        self._raw: AdminClient | None = None
        self._has_controller = False
        self._reports = Reports(settings)
        self._login = Login(settings)
        _admins.add(self)

    def _client(self) -> AdminClient:
        with self._lock:
            if self._raw is None:
                config = client_config(self._settings, "admin", error_cb=self._reported)
                try:
                    self._raw = AdminClient(config)
                except KafkaException as error:
                    raise ConfigError(f"the admin client's configuration is refused: {error.args[0].str()}") from error
            self._login.tend(self._raw)
            return self._raw

    def _reported(self, error: ClientError) -> None:
        self._reports.hear(error)
        self._login.hear(error)

    def _after_fork(self) -> None:
        self._lock = threading.Lock()
        _abandoned.append(self._raw)
        self._raw = None

    def _wait(self, future: Any, timeout: float, **facts: Any) -> Any:
        try:
            # the client gives up by itself after `timeout`; a moment more, so that its own reason comes first
            result = future.result(timeout + 1)
        except KafkaException as error:
            raise self._translated(error, **facts) from error
        except concurrent.futures.TimeoutError as error:
            raise BrokerUnavailable(
                f"no Kafka broker answered at {self._settings.brokers} within {timeout:g} s", code="_TIMED_OUT"
            ) from error
        self._reports.forget()
        return result

    def _translated(self, error: KafkaException, **facts: Any) -> ElsaError:
        self._client().poll(0)  # hands over what the client itself has to say
        return self._reports.translate(error, **facts)

    def _patiently(self, ask: Callable[[float], T], timeout: float) -> T:
        """Ask again while a leader or coordinator that was just chosen refuses: the client does not by itself."""
        end = SYSTEM.monotonic() + timeout
        while True:
            try:
                return ask(max(0.1, end - SYSTEM.monotonic()))
            except KafkaError as error:
                is_moving = error.retryable and not isinstance(error, BrokerUnavailable)
                if not is_moving or SYSTEM.monotonic() >= end:
                    raise
            self._pause.wait(_RETRY_SECONDS)

    # -- topics ------------------------------------------------------------------------------------

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
        futures = self._client().describe_topics(
            TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=timeout
        )
        found = {}
        for topic, future in futures.items():
            try:
                described = self._wait(future, timeout, topic=topic, operation="Describe")
            except KafkaError as error:
                if error.code not in _OF_TOPICS:
                    raise
                found[topic] = Writable(refusal=error)
                continue
            allowed = described.authorized_operations
            refusal = None
            if allowed and AclOperation.WRITE not in allowed:
                refused = ClientError(ClientError.TOPIC_AUTHORIZATION_FAILED)
                missing = translate(refused, brokers=self._settings.brokers, topic=topic, operation="Write")
                assert isinstance(missing, KafkaError)
                refusal = missing
            leaderless = frozenset(p.id for p in described.partitions if p.leader is None or p.leader.id < 0)
            found[topic] = Writable(len(described.partitions), leaderless, refusal)
        return found

    def topic_id(self, topic: str, timeout: float = TIMEOUT_SECONDS) -> str:
        """The id that a topic has from its creation to its deletion; raises UnknownTopic."""
        return str(self._describe_topic(topic, timeout).topic_id)

    def _describe_topic(self, topic: str, timeout: float) -> Any:
        futures = self._client().describe_topics(TopicCollection([topic]), request_timeout=timeout)
        return self._wait(futures[topic], timeout, topic=topic, operation="Describe")

    def _metadata(self, timeout: float) -> Any:
        """The cluster's brokers and all topics; asking for one topic could create it."""
        try:
            found = self._client().list_topics(timeout=timeout)
        except KafkaException as error:
            raise self._translated(error, operation="Describe") from error
        self._reports.forget()
        identity.learn(self._settings.brokers, found)
        return found

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

    # -- offsets -----------------------------------------------------------------------------------

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

    # -- groups ------------------------------------------------------------------------------------

    def list_groups(self, timeout: float = TIMEOUT_SECONDS) -> list[tuple[str, str, str]]:
        """(name, state, protocol) of every consumer group."""
        found = self._wait(self._client().list_consumer_groups(request_timeout=timeout), timeout, operation="Describe")
        if not found.valid and found.errors:
            raise self._translated(found.errors[0], operation="Describe")
        return sorted((group.group_id, _word(group.state), _word(group.type)) for group in found.valid)

    def owned(self, group: str, timeout: float = TIMEOUT_SECONDS) -> set[TopicPartition] | None:
        """The partitions that the members of a classic group hold; None while it is not stable.

        Asked by the client's old call: `describe_consumer_groups` ends the process (an assertion in librdkafka
        2.16) when a broker goes away while it waits, and a worker asks just then.
        """
        client: Any = self._client()
        try:
            with warnings.catch_warnings():
                # it says that it is old; where warnings are errors, the client's C code stumbles over that
                warnings.simplefilter("ignore", DeprecationWarning)
                found = client.list_groups(group, timeout=timeout)
        except KafkaException as error:
            raise self._translated(error, group=group, operation="Describe") from error
        if not found or found[0].state != "Stable":
            return None
        return {partition for member in found[0].members for partition in _assignment(member.assignment)}

    def group(self, name: str, timeout: float = TIMEOUT_SECONDS) -> GroupInfo:
        """What the coordinator knows of a group; raises UnknownGroup."""
        found = self._patiently(lambda left: self._describe_group(name, left), timeout)
        if _word(found.state) == "dead":
            raise translate(ClientError(ClientError.GROUP_ID_NOT_FOUND), group=name)
        return described(name, found)

    def _describe_group(self, name: str, timeout: float) -> Any:
        futures = self._client().describe_consumer_groups([name], request_timeout=timeout)
        return self._wait(futures[name], timeout, group=name, operation="Describe")

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
        futures = self._client().alter_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=timeout
        )
        done = self._wait(futures[group], timeout, group=group, operation="Read")
        for raw in done.topic_partitions:
            if raw.error is not None:
                raise translate(raw.error, group=group, topic=raw.topic, partition=raw.partition, operation="Read")

    def delete_group(self, name: str, timeout: float = TIMEOUT_SECONDS) -> None:
        """Delete a group with its offsets; raises UnknownGroup, GroupNotEmpty."""
        futures = self._client().delete_consumer_groups([name], request_timeout=timeout)
        self._wait(futures[name], timeout, group=name, operation="Delete")


def _listed(metadata: Any, topic: str) -> list[PartitionInfo]:
    """A topic's partitions as the cluster's metadata has them; raises UnknownTopic."""
    if topic not in metadata.topics:
        raise translate(ClientError(ClientError.UNKNOWN_TOPIC_OR_PART), topic=topic)
    return [
        PartitionInfo(each.id, each.leader if each.leader >= 0 else None, tuple(each.replicas), tuple(each.isrs))
        for _, each in sorted(metadata.topics[topic].partitions.items())
    ]


def _assignment(data: bytes) -> list[TopicPartition]:
    """The partitions in a member's assignment: Kafka's consumer protocol, big-endian."""
    found = []
    (topics,), at = struct.unpack_from(">i", data, 2), 6
    for _ in range(topics):
        (length,) = struct.unpack_from(">h", data, at)
        topic = data[at + 2 : at + 2 + length].decode()
        at += 2 + length
        (count,) = struct.unpack_from(">i", data, at)
        found += [TopicPartition(topic, number) for number in struct.unpack_from(f">{count}i", data, at + 4)]
        at += 4 + 4 * count
    return found


def described(name: str, found: Any) -> GroupInfo:
    """What the client's answer says of a group."""
    node = found.coordinator
    return GroupInfo(
        name,
        _word(found.state),
        _word(found.type),
        found.partition_assignor or "",
        f"{node.host}:{node.port}" if node is not None else "",
        tuple(_member(member) for member in found.members),
    )


def committed_offsets(lines: Iterable[Any]) -> dict[TopicPartition, int]:
    """The offsets of the partitions that have one."""
    return {
        TopicPartition(raw.topic, raw.partition): raw.offset for raw in lines if raw.error is None and raw.offset >= 0
    }


def _member(member: Any) -> MemberInfo:
    assigned: Sequence[Any] = member.assignment.topic_partitions if member.assignment is not None else ()
    return MemberInfo(
        member.member_id,
        member.client_id,
        member.host,
        member.group_instance_id or None,
        tuple(sorted(TopicPartition(raw.topic, raw.partition) for raw in assigned)),
    )


def _word(value: Any) -> str:
    """A client enum's name in small letters (`STABLE` -> stable)."""
    return "unknown" if value is None else str(value.name).lower()


#: clients inherited through fork: kept alive, because freeing one waits for threads that don't exist here
_abandoned: list[Any] = []
_admins: weakref.WeakSet[Admin] = weakref.WeakSet()


def _renew_all() -> None:
    for admin in list(_admins):
        admin._after_fork()


os.register_at_fork(after_in_child=_renew_all)
