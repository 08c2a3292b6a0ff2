"""Asks a cluster whether it answers, and creates and deletes what tests need.

Called by elsa.broker and elsa.testing.
"""

from __future__ import annotations

import logging
from threading import Event
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.cimpl import NewTopic

from elsa.clock import SYSTEM
from elsa.errors import BrokerUnavailable, TopicError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

# A broker that is starting refuses connections: that is no news.
_SILENT = logging.getLogger("elsa.kafka.probe")
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

_GONE = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.GROUP_ID_NOT_FOUND, KafkaError.NON_EMPTY_GROUP}
_EARLY = {KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.COORDINATOR_NOT_AVAILABLE, KafkaError.NOT_COORDINATOR}


class Probe:
    """An admin client for one address; `answers` may be called until it says yes."""

    def __init__(self, bootstrap: str, kafka: Mapping[str, Any] = MappingProxyType({})) -> None:
        self._client = _admin(bootstrap, kafka)

    def answers(self, nodes: int, timeout: float) -> bool:
        """Whether this address knows a controller and that many brokers, waiting at most `timeout` seconds."""
        try:
            metadata = self._client.list_topics(timeout=timeout)
        except KafkaException:
            return False
        return len(metadata.brokers) >= nodes and metadata.controller_id > 0


def _admin(bootstrap: str, kafka: Mapping[str, Any] = MappingProxyType({})) -> AdminClient:
    settings: dict[str, Any] = {
        "bootstrap.servers": bootstrap,
        "reconnect.backoff.ms": 20,
        "reconnect.backoff.max.ms": 100,
        "log_level": 0,
        "logger": _SILENT,
    }
    return AdminClient(settings | dict(kafka))


def create_topic(
    bootstrap: str, topic: str, partitions: int, config: Mapping[str, str] | None = None, *, timeout: float = 30.0
) -> None:
    """Create a topic and wait until every broker that is asked knows all its partitions."""
    admin = _admin(bootstrap)
    created = admin.create_topics(
        [NewTopic(topic, num_partitions=partitions, config=dict(config or {}))], operation_timeout=timeout
    )
    created[topic].result(timeout)
    # the controller has made it; a busy broker hears of it later, and no event tells when it has
    for _ in _again(timeout):
        if len(admin.list_topics(topic, timeout=timeout).topics[topic].partitions) >= partitions:
            return
    raise TopicError(f"topic {topic} was created, and the brokers do not know it after {timeout:g} s", topic=topic)


def list_topics(bootstrap: str, *, timeout: float = 30.0) -> list[str]:
    """The names of all topics but Kafka's own, sorted."""
    topics = _admin(bootstrap).list_topics(timeout=timeout).topics
    return sorted(name for name in topics if not name.startswith("__"))


def replicas(bootstrap: str, topic: str, *, timeout: float = 30.0) -> int:
    """How many replicas each partition of a topic has."""
    admin = _admin(bootstrap)
    # a topic made a moment ago is not known to every node yet
    for _ in _again(timeout):
        if partitions := admin.list_topics(topic, timeout=timeout).topics[topic].partitions:
            return min(len(partition.replicas) for partition in partitions.values())
    return 0


def topic_config(bootstrap: str, topic: str, *, timeout: float = 30.0) -> dict[str, str]:
    """Every setting of a topic, defaults included."""
    admin, resource = _admin(bootstrap), ConfigResource(ConfigResource.Type.TOPIC, topic)
    # as above: any node may be asked
    for _ in _again(timeout):
        try:
            entries = admin.describe_configs([resource], request_timeout=timeout)[resource].result(timeout)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
        else:
            return {name: str(entry.value) for name, entry in entries.items()}
    raise TopicError(f"no broker knows topic {topic} within {timeout:g} s", topic=topic)


def delete_topics(bootstrap: str, topics: Sequence[str], *, timeout: float = 30.0) -> None:
    """Delete topics; one that is gone already is no error."""
    if topics:
        admin = _admin(bootstrap)
        _finish(admin.delete_topics(list(topics), operation_timeout=timeout), timeout)


def delete_groups(bootstrap: str, groups: Sequence[str], *, timeout: float = 30.0) -> None:
    """Delete consumer groups; one that never was, or whose dead members have not expired yet, is no error."""
    if not groups:
        return
    admin, left = _admin(bootstrap), list(groups)
    # the first who asks a fresh cluster for a group's coordinator has it chosen, and is refused until that is done
    for _ in _again(timeout):
        if not (left := _finish(admin.delete_consumer_groups(left, request_timeout=timeout), timeout)):
            return
    raise BrokerUnavailable(f"no coordinator deletes {', '.join(left)} within {timeout:g} s")


def _again(timeout: float) -> Iterator[None]:
    """At once, and then twenty times a second until time is up: no event tells what the brokers have heard of."""
    end, pause = SYSTEM.monotonic() + timeout, Event()
    yield
    while SYSTEM.monotonic() < end:
        pause.wait(0.05)
        yield


def _finish(futures: Mapping[str, Any], timeout: float) -> list[str]:
    """Wait for all of them; those whose coordinator was not there yet."""
    early = []
    for name, future in futures.items():
        try:
            future.result(timeout)
        except KafkaException as error:
            code = error.args[0].code()
            if code in _EARLY:
                early.append(name)
            elif code not in _GONE:
                raise
    return early
