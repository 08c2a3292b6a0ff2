"""The table from Kafka's codes to Elsa's errors."""

from __future__ import annotations

import pytest
from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException

from elsa import errors
from elsa.config import Settings
from elsa.kafka.errors import Reports, is_fatal, translate


@pytest.mark.parametrize(
    ("code", "kind", "retryable"),
    [
        (Code._TRANSPORT, errors.BrokerUnavailable, True),
        (Code._ALL_BROKERS_DOWN, errors.BrokerUnavailable, True),
        (Code._TIMED_OUT, errors.BrokerUnavailable, True),
        (Code._MSG_TIMED_OUT, errors.BrokerUnavailable, True),
        (Code._AUTHENTICATION, errors.AuthenticationFailed, False),
        (Code._SSL, errors.AuthenticationFailed, False),
        (Code.TOPIC_AUTHORIZATION_FAILED, errors.AuthorizationFailed, False),
        (Code.UNKNOWN_TOPIC_OR_PART, errors.UnknownTopic, False),
        (Code._UNKNOWN_PARTITION, errors.UnknownPartition, False),
        (Code.TOPIC_ALREADY_EXISTS, errors.TopicExists, False),
        (Code.INVALID_PARTITIONS, errors.TopicError, False),
        (Code.OFFSET_OUT_OF_RANGE, errors.OffsetOutOfRange, False),
        (Code.MSG_SIZE_TOO_LARGE, errors.MessageTooLarge, False),
        (Code._QUEUE_FULL, errors.BufferFull, True),
        (Code.NON_EMPTY_GROUP, errors.GroupNotEmpty, False),
        (Code.GROUP_ID_NOT_FOUND, errors.UnknownGroup, False),
        (Code._FATAL, errors.FatalClientError, False),
        (Code._PURGE_QUEUE, errors.KafkaError, False),
        (Code.NOT_ENOUGH_REPLICAS, errors.KafkaError, True),
        (Code.UNKNOWN, errors.KafkaError, True),
        (Code.THROTTLING_QUOTA_EXCEEDED, errors.KafkaError, True),
        (Code.UNKNOWN_MEMBER_ID, errors.GroupNotEmpty, False),
        (Code.UNKNOWN_LEADER_EPOCH, errors.KafkaError, True),
        (Code.OFFSET_NOT_AVAILABLE, errors.KafkaError, True),
        (Code.UNSTABLE_OFFSET_COMMIT, errors.KafkaError, True),
    ],
)
def test_every_code_has_its_class(code: int, kind: type[errors.ElsaError], retryable: object) -> None:
    error = translate(Code(code), topic="orders", partition=1)

    assert kind is type(error)
    assert retryable is error.retryable
    assert error.topic == "orders"
    assert Code(code).name() == error.code  # type: ignore[attr-defined]  # both roots of the table have it


def test_a_missing_acl_names_its_resource_and_the_right() -> None:
    error = translate(Code(Code.TOPIC_AUTHORIZATION_FAILED), topic="orders", operation="Write", brokers="k:9092")

    assert str(error) == (
        "an ACL is missing: this client needs Write on topic 'orders': Broker: Topic authorization failed "
        "(TOPIC_AUTHORIZATION_FAILED)\n  hint: kafka-acls --bootstrap-server k:9092 --add --allow-principal "
        "User:<name> --operation Write --topic orders"
    )


def test_a_client_that_broke_on_a_missing_acl_says_so() -> None:
    broken = Code(Code.CLUSTER_AUTHORIZATION_FAILED, "Failed to acquire idempotence PID", fatal=True)

    assert is_fatal(broken)
    assert "needs IdempotentWrite on the cluster, or Write on any topic" in str(translate(broken, operation="Write"))


def test_the_brokers_own_text_and_the_code_stand_in_the_message() -> None:
    error = translate(KafkaException(Code(Code.TOPIC_ALREADY_EXISTS, "Topic 'orders' is taken.")), topic="orders")

    assert str(error) == "topic 'orders' exists already: Topic 'orders' is taken. (TOPIC_ALREADY_EXISTS)"


def test_no_broker_names_the_address() -> None:
    error = translate(Code(Code._TRANSPORT), brokers="kafka:9092")

    assert str(error).startswith("no Kafka broker answered at kafka:9092: ")
    assert isinstance(error, ConnectionError)


def test_a_fatal_error_is_fatal_whatever_its_code() -> None:
    error = Code(Code.OUT_OF_ORDER_SEQUENCE_NUMBER, "broken", fatal=True)

    assert is_fatal(KafkaException(error))
    assert errors.FatalClientError is type(translate(error))
    assert not is_fatal(Code(Code.UNKNOWN))
    assert not is_fatal(ValueError())


def test_an_elsa_error_comes_back_as_it_is() -> None:
    error = errors.UnknownTopic("gone")

    assert error is translate(error)


def test_what_is_no_client_error_keeps_its_text() -> None:
    error = translate(RuntimeError("odd"), topic="orders")

    assert (str(error), error.code, error.topic) == ("odd", "RuntimeError", "orders")  # type: ignore[attr-defined]  # a KafkaError


def test_what_the_client_reports_says_more_than_the_call_that_failed() -> None:
    reports = Reports(Settings(brokers="kafka:9092"))
    failed = KafkaException(Code(Code._TRANSPORT, "Failed to get metadata"))

    assert "Failed to get metadata" in str(reports.translate(failed))
    reports.hear(Code(Code._RESOLVE, "Failed to resolve 'kafka:9092'"))
    reports.hear(Code(Code._ALL_BROKERS_DOWN, "1/1 brokers are down"))

    assert errors.BrokerUnavailable is type(reports.translate(failed))
    assert "at kafka:9092: Failed to resolve 'kafka:9092' (_RESOLVE)" in str(reports.translate(failed))
    reports.hear(Code(Code._AUTHENTICATION, "wrong password"))
    reports.hear(Code(Code._TRANSPORT, "Disconnected"))

    assert errors.AuthenticationFailed is type(reports.translate(failed))
    assert errors.UnknownTopic is type(reports.translate(KafkaException(Code(Code._UNKNOWN_TOPIC))))
    reports.forget()

    assert "Failed to get metadata" in str(reports.translate(failed))


class Call:
    """Notes how long it may wait, and fails the first times in turn."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.waited: list[float] = []

    def __call__(self, seconds: float) -> str:
        self.waited.append(seconds)
        if self.errors:
            raise self.errors.pop(0)
        return "an answer"


SILENCE = [KafkaException(Code(Code._TIMED_OUT)), TimeoutError()]


@pytest.fixture
def reports() -> Reports:
    return Reports(Settings(brokers="127.0.0.1:1"))


@pytest.mark.parametrize("silence", SILENCE, ids=["the client", "a future"])
def test_a_client_that_is_refused_waits_no_longer_than_a_second(reports: Reports, silence: Exception) -> None:
    call = Call(silence, silence)

    def served() -> None:
        reports.hear(Code(Code._AUTHENTICATION, "wrong password"))

    with pytest.raises(KafkaException) as raised:
        reports.ask(call, 5.0, served)

    assert call.waited == [1.0]
    assert type(reports.translate(raised.value)) is errors.AuthenticationFailed


@pytest.mark.parametrize("silence", SILENCE, ids=["the client", "a future"])
def test_a_client_that_nobody_refuses_waits_for_all_of_its_time(reports: Reports, silence: Exception) -> None:
    call = Call(silence)

    assert reports.ask(call, 5.0) == "an answer"
    assert call.waited == [1.0, 4.0]


def test_what_a_broker_answers_is_raised_at_once(reports: Reports) -> None:
    call = Call(KafkaException(Code(Code.TOPIC_AUTHORIZATION_FAILED)))

    with pytest.raises(KafkaException) as raised:
        reports.ask(call, 5.0)

    assert call.waited == [1.0]
    assert raised.value.args[0].code() == Code.TOPIC_AUTHORIZATION_FAILED
