"""Asks the brokers what this client may do, without doing it; called by `elsa check --acl`."""

from __future__ import annotations

import secrets
from functools import partial
from threading import Event
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from elsa.clock import SYSTEM
from elsa.errors import AuthorizationFailed, BrokerUnavailable, KafkaError
from elsa.kafka.cluster import broker_config
from elsa.kafka.config import client_config
from elsa.kafka.errors import ClientError, Reports
from elsa.kafka.transactions import TransactionalProducer

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.errors import ElsaError

_TIMEOUT_SECONDS = 10.0
_RETRY_SECONDS = 0.1
_FORBIDDEN = {
    ClientError.TOPIC_AUTHORIZATION_FAILED,
    ClientError.GROUP_AUTHORIZATION_FAILED,
    ClientError.CLUSTER_AUTHORIZATION_FAILED,
}
_UNKNOWN = {ClientError.UNKNOWN_TOPIC_OR_PART}


class Rights:
    """Operations are written as kafka-acls does; every method raises what keeps it from asking at all."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._reports = Reports(settings)
        self._pause = Event()
        self._admin = AdminClient(client_config(settings, "admin", error_cb=self._reports.hear))

    def topics(self) -> list[str]:
        """The topics that this client may see."""
        try:
            found = self._reports.ask(
                lambda left: self._admin.list_topics(timeout=left), _TIMEOUT_SECONDS, partial(self._admin.poll, 0)
            )
            return list(found.topics)
        except KafkaException as error:
            raise self._told(error) from error

    def topic(self, name: str) -> frozenset[str] | None:
        """What is allowed on a topic, None when there is none of that name."""
        futures = self._admin.describe_topics(
            TopicCollection([name]), include_authorized_operations=True, request_timeout=_TIMEOUT_SECONDS
        )
        try:
            return _operations(futures[name].result(_TIMEOUT_SECONDS + 1))
        except KafkaException as error:
            if error.args[0].code() in _FORBIDDEN:
                return frozenset()
            if error.args[0].code() in _UNKNOWN:
                return None
            raise self._told(error) from error

    def may_create(self, topic: str) -> bool:
        """Whether a topic of this name could be created."""
        futures = self._admin.create_topics(
            [NewTopic(topic, num_partitions=1)], validate_only=True, request_timeout=_TIMEOUT_SECONDS
        )
        try:
            futures[topic].result(_TIMEOUT_SECONDS + 1)
        except KafkaException as error:
            code = error.args[0].code()
            if code in _FORBIDDEN:
                return False
            if code != ClientError.TOPIC_ALREADY_EXISTS:
                raise self._told(error) from error
        return True

    def group(self, name: str) -> frozenset[str]:
        """What is allowed on a group, also on one that is not there yet."""
        end = SYSTEM.monotonic() + _TIMEOUT_SECONDS
        while True:
            left = max(0.1, end - SYSTEM.monotonic())
            futures = self._admin.describe_consumer_groups(
                [name], include_authorized_operations=True, request_timeout=left
            )
            try:
                return _operations(futures[name].result(left + 1))
            except KafkaException as error:
                if error.args[0].code() in _FORBIDDEN:
                    return frozenset()
                told = self._told(error)
                # on a cluster that has just started, groups have no coordinator for a moment; the client does not wait
                is_moving = isinstance(told, KafkaError) and told.retryable and not isinstance(told, BrokerUnavailable)
                if not is_moving or SYSTEM.monotonic() >= end:
                    raise told from error
            self._pause.wait(_RETRY_SECONDS)

    def may_read_settings(self) -> bool:
        """Whether the brokers' own settings may be read, which is DescribeConfigs on the cluster.

        What else is allowed on the cluster the brokers tell only those who may Describe it.
        """
        try:
            broker_config(self._settings, timeout=_TIMEOUT_SECONDS)
        except AuthorizationFailed:
            return False
        return True

    def may_use_transactions(self, prefix: str) -> bool:
        """Whether transactional ids that begin so may be used: tried with one that nobody has.

        It is forgotten by the cluster after a week; there is no request that only asks.
        """
        producer = TransactionalProducer(self._settings, f"{prefix}check-{secrets.token_hex(6)}")
        try:
            producer.init(_TIMEOUT_SECONDS)
        except AuthorizationFailed:
            return False
        finally:
            producer.close()
        return True

    def _told(self, error: KafkaException) -> ElsaError:
        self._admin.poll(0)  # hands over what the client itself has to say
        return self._reports.translate(error)


def _operations(described: Any) -> frozenset[str]:
    found = described.authorized_operations or ()
    return frozenset("".join(part.capitalize() for part in operation.name.split("_")) for operation in found)
