"""Turns the client library's errors into Elsa's, once, for every adapter in this package."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError as ClientError
from confluent_kafka import KafkaException as ClientException

from elsa import errors

__all__ = ["ClientError", "ClientException", "Reports", "is_fatal", "is_unknown_topic", "translate"]

_UNREACHABLE = frozenset(
    {
        ClientError._TRANSPORT,
        ClientError._ALL_BROKERS_DOWN,
        ClientError._RESOLVE,
        ClientError._TIMED_OUT,
        ClientError._TIMED_OUT_QUEUE,
        ClientError._WAIT_COORD,
        ClientError.BROKER_NOT_AVAILABLE,
        ClientError.NETWORK_EXCEPTION,
        ClientError.REQUEST_TIMED_OUT,
    }
)

#: code -> (class, what happened, what to do); `{topic}` and the like come from the facts
_TABLE: dict[int, tuple[type[errors.KafkaError], str, str | None]] = {
    **dict.fromkeys(
        _UNREACHABLE,
        (errors.BrokerUnavailable, "no Kafka broker answered{at}", "check `brokers` and that Kafka is running"),
    ),
    **dict.fromkeys(
        (ClientError._AUTHENTICATION, ClientError.SASL_AUTHENTICATION_FAILED, ClientError.ILLEGAL_SASL_STATE),
        (errors.AuthenticationFailed, "the broker refused the credentials", "check the sasl.* keys of `kafka`"),
    ),
    ClientError._SSL: (errors.AuthenticationFailed, "the TLS handshake failed", "check the ssl.* keys of `kafka`"),
    ClientError.UNSUPPORTED_SASL_MECHANISM: (
        errors.AuthenticationFailed,
        "the broker does not offer this SASL mechanism",
        "check `sasl.mechanism` in `kafka`",
    ),
    ClientError.TOPIC_AUTHORIZATION_FAILED: (
        errors.AuthorizationFailed,
        "an ACL on topic {topic!r} is missing",
        "grant {operation} on topic {topic!r} to this user",
    ),
    ClientError.GROUP_AUTHORIZATION_FAILED: (
        errors.AuthorizationFailed,
        "an ACL on group {group!r} is missing",
        "grant {operation} on group {group!r} to this user",
    ),
    ClientError.CLUSTER_AUTHORIZATION_FAILED: (
        errors.AuthorizationFailed,
        "an ACL on the cluster is missing",
        "grant {operation} on the cluster to this user",
    ),
    ClientError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: (
        errors.AuthorizationFailed,
        "an ACL on a transactional id is missing",
        "grant WRITE on the transactional id to this user",
    ),
    **dict.fromkeys(
        (ClientError.UNKNOWN_TOPIC_OR_PART, ClientError._UNKNOWN_TOPIC, ClientError.UNKNOWN_TOPIC_ID),
        (errors.UnknownTopic, "topic {topic!r} does not exist", "create it: `elsa topics create {topic}`"),
    ),
    ClientError._MSG_TIMED_OUT: (
        errors.BrokerUnavailable,
        "Kafka did not confirm the message for topic {topic!r} within `send_timeout`",
        "it may have been written all the same",
    ),
    **dict.fromkeys(
        (ClientError._PURGE_QUEUE, ClientError._PURGE_INFLIGHT),
        (
            errors.KafkaError,
            "the message for topic {topic!r} was dropped: the producer was closed before Kafka confirmed it",
            "give `close` more time, or find out why Kafka did not answer",
        ),
    ),
    ClientError._UNKNOWN_PARTITION: (
        errors.UnknownPartition,
        "topic {topic!r} has no partition {partition}",
        "see `elsa topics describe {topic}`",
    ),
    ClientError.OFFSET_OUT_OF_RANGE: (
        errors.OffsetOutOfRange,
        "offset {offset} of {topic!r}[{partition}] lies outside the log",
        None,
    ),
    ClientError._AUTO_OFFSET_RESET: (
        errors.OffsetOutOfRange,
        "offset {offset} of {topic!r}[{partition}] lies outside the log",
        None,
    ),
    ClientError.TOPIC_ALREADY_EXISTS: (errors.TopicExists, "topic {topic!r} exists already", None),
    **dict.fromkeys(
        (
            ClientError.TOPIC_EXCEPTION,
            ClientError.INVALID_PARTITIONS,
            ClientError.INVALID_REPLICATION_FACTOR,
            ClientError.INVALID_REPLICA_ASSIGNMENT,
            ClientError.INVALID_CONFIG,
            ClientError.POLICY_VIOLATION,
            ClientError.TOPIC_DELETION_DISABLED,
        ),
        (errors.TopicError, "the broker refused the operation on topic {topic!r}", None),
    ),
    ClientError.NON_EMPTY_GROUP: (
        errors.GroupNotEmpty,
        "group {group!r} still has members",
        "stop its workers first",
    ),
    ClientError.GROUP_SUBSCRIBED_TO_TOPIC: (
        errors.GroupNotEmpty,
        "group {group!r} is subscribed to topic {topic!r}",
        "stop its workers first",
    ),
    ClientError.UNKNOWN_MEMBER_ID: (
        errors.GroupNotEmpty,
        "group {group!r} has members: its offsets can't be changed from outside",
        "stop its workers first",
    ),
    **dict.fromkeys(
        (ClientError.GROUP_ID_NOT_FOUND, ClientError._UNKNOWN_GROUP),
        (errors.UnknownGroup, "group {group!r} does not exist", "see `elsa groups list`"),
    ),
    ClientError.INVALID_GROUP_ID: (errors.GroupError, "{group!r} is no valid group name", None),
    **dict.fromkeys(
        (ClientError._FATAL, ClientError._FENCED, ClientError.PRODUCER_FENCED, ClientError.FENCED_INSTANCE_ID),
        (errors.FatalClientError, "the Kafka client reported a fatal error", "it has to be rebuilt"),
    ),
}

#: what the table does not name, but a second try may cure
_RETRYABLE = frozenset(
    {
        ClientError.LEADER_NOT_AVAILABLE,
        ClientError.NOT_LEADER_FOR_PARTITION,
        # what a leader says that was chosen a moment ago, or is about to be replaced
        ClientError.FENCED_LEADER_EPOCH,
        ClientError.UNKNOWN_LEADER_EPOCH,
        ClientError.OFFSET_NOT_AVAILABLE,
        ClientError.NOT_CONTROLLER,
        ClientError.NOT_COORDINATOR,
        ClientError.COORDINATOR_LOAD_IN_PROGRESS,
        ClientError.COORDINATOR_NOT_AVAILABLE,
        ClientError.NOT_ENOUGH_REPLICAS,
        ClientError.NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        ClientError.REBALANCE_IN_PROGRESS,
        ClientError.UNSTABLE_OFFSET_COMMIT,
        ClientError.THROTTLING_QUOTA_EXCEEDED,
        ClientError.KAFKA_STORAGE_ERROR,
        ClientError._MSG_TIMED_OUT,
        ClientError._QUEUE_FULL,
    }
)


class _Facts(dict[str, Any]):
    """Facts for a text; a missing one is said to be unknown instead of raising."""

    def __missing__(self, key: str) -> str:
        return "" if key == "at" else "?"


def translate(error: ClientError | ClientException | BaseException, **facts: Any) -> errors.ElsaError:
    """The Elsa error for a client error, with its facts (topic, partition, offset, group, brokers, operation).

    An ElsaError comes back as it is. `code` is Kafka's name of the error, the broker's own text stands in
    the message.

    >>> translate(ClientError(ClientError.TOPIC_ALREADY_EXISTS), topic="orders").code
    'TOPIC_ALREADY_EXISTS'
    """
    if isinstance(error, errors.ElsaError):
        return error
    client_error = _client_error(error)
    if client_error is None:
        return errors.KafkaError(str(error), code=type(error).__name__, **_standard(facts))
    code = client_error.code()
    if code == ClientError.MSG_SIZE_TOO_LARGE:
        return _too_large(client_error, facts)
    if code == ClientError._QUEUE_FULL:
        return errors.BufferFull(
            "the producer's buffer is full",
            code=client_error.name(),
            retryable=True,
            hint="wait, send slower, or raise `send_buffer`",
            **_standard(facts),
        )
    kind, what, hint = _TABLE.get(code, (errors.KafkaError, "Kafka refused the operation", None))
    if client_error.fatal():
        kind, what, hint = _TABLE[ClientError._FATAL]
    if "topic" not in facts and kind in (errors.UnknownTopic, errors.TopicExists):
        what, hint = kind.__doc__ or what, None
    brokers = facts.get("brokers")
    said = _Facts(facts, at=f" at {brokers}" if brokers else "")
    return kind(
        f"{what.format_map(said)}: {client_error.str()} ({client_error.name()})",
        code=client_error.name(),
        retryable=True if kind.retryable or code in _RETRYABLE or client_error.retriable() else None,
        hint=hint.format_map(said) if hint else None,
        **_standard(facts),
    )


class Reports:
    """What a client reports by itself: it says more than the call that failed meanwhile. For any thread.

    A call ends with "no answer"; only the client's own report says that the port is closed, the host unknown
    or the password wrong.
    """

    def __init__(self, brokers: str) -> None:
        self._brokers = brokers
        self._refusal: ClientError | None = None
        self._reason: ClientError | None = None

    def hear(self, error: ClientError) -> None:
        """Take a report (the client's `error_cb`)."""
        if _TABLE.get(error.code(), (None,))[0] is errors.AuthenticationFailed:
            self._refusal = error
        elif error.code() in _UNREACHABLE and error.code() != ClientError._ALL_BROKERS_DOWN:
            self._reason = error

    def forget(self) -> None:
        """A call succeeded: what was reported before is history."""
        self._refusal = self._reason = None

    def translate(self, error: ClientException, **facts: Any) -> errors.ElsaError:
        """As `translate`, with the client's own reason when nobody answered."""
        translated = translate(error, brokers=self._brokers, **facts)
        better = self._refusal or self._reason
        if better is None or not isinstance(translated, errors.BrokerUnavailable):
            return translated
        return translate(better, brokers=self._brokers, **facts)


def is_fatal(error: BaseException | ClientError) -> bool:
    """Whether the client that raised it is of no use any more."""
    client_error = _client_error(error)
    return client_error is not None and (client_error.fatal() or client_error.code() == ClientError._FATAL)


def is_unknown_topic(error: ClientError) -> bool:
    """Whether the topic or the partition was gone when the message was due."""
    return error.code() in (
        ClientError.UNKNOWN_TOPIC_OR_PART,
        ClientError._UNKNOWN_TOPIC,
        ClientError._UNKNOWN_PARTITION,
        ClientError.UNKNOWN_TOPIC_ID,
    )


def _client_error(error: object) -> ClientError | None:
    if isinstance(error, ClientError):
        return error
    if isinstance(error, ClientException) and error.args and isinstance(error.args[0], ClientError):
        return error.args[0]
    return None


def _too_large(error: ClientError, facts: dict[str, Any]) -> errors.MessageTooLarge:
    topic = facts.get("topic")
    return errors.MessageTooLarge(
        f"the message is too large for topic {topic!r}: {error.str()}",
        reason=error.str(),
        code=error.name(),
        hint="send less, or raise `max.message.bytes` of the topic (and `message.max.bytes` in `kafka` over 10 MiB)",
        **_standard(facts),
    )


def _standard(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: facts[name] for name in ("topic", "partition", "offset") if name in facts}
