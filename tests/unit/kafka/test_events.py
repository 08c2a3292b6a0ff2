"""What a polled item with an error means."""

from __future__ import annotations

from typing import Any

import pytest
from confluent_kafka import KafkaError as Code

from elsa.config import Settings
from elsa.errors import AuthorizationFailed
from elsa.kafka import codes
from elsa.kafka.codes import Class
from elsa.kafka.events import Event, classify, event_error


class Polled:
    def __init__(self, code: int, topic: str | None = "orders", *, fatal: bool = False) -> None:
        self._error = Code(code, "said", fatal=fatal)
        self._topic = topic

    def error(self) -> Code:
        return self._error

    def topic(self) -> str | None:
        return self._topic

    def partition(self) -> int:
        return 2

    def offset(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (Code._PARTITION_EOF, Event.END_OF_PARTITION),
        (Code.OFFSET_OUT_OF_RANGE, Event.OUT_OF_RANGE),
        (Code._AUTO_OFFSET_RESET, Event.OUT_OF_RANGE),
        (Code._LOG_TRUNCATION, Event.OUT_OF_RANGE),
        (Code.UNKNOWN_TOPIC_OR_PART, Event.WAITING),
        (Code._UNKNOWN_PARTITION, Event.WAITING),
        (Code._FATAL, Event.REBUILD),
        (Code.TOPIC_AUTHORIZATION_FAILED, Event.REFUSED),
        (Code._MAX_POLL_EXCEEDED, Event.PASSING),
        (Code._NOOP, Event.IGNORED),
    ],
)
def test_each_has_its_kind(code: int, kind: str) -> None:
    assert classify(Polled(code)) == kind


def test_every_code_has_the_event_of_its_class() -> None:
    special = codes.numbers(codes.OUT_OF_RANGE, codes.UNKNOWN_TOPIC, "_UNKNOWN_PARTITION _PARTITION_EOF")
    expected = {
        Class.RETRY: Event.PASSING,
        Class.REBUILD: Event.REBUILD,
        Class.FATAL: Event.REFUSED,
        Class.IGNORE: Event.IGNORED,
    }

    assert {
        Code(code).name()
        for code, found in codes.TABLE.items()
        if code not in special and classify(Polled(code)) != expected[found.name]
    } == set()
    assert classify(Polled(Code.NOT_COORDINATOR, fatal=True)) == Event.REBUILD


def test_who_has_no_group_needs_no_right_on_one() -> None:
    refused: Any = Polled(Code.GROUP_AUTHORIZATION_FAILED, None)

    assert (classify(refused), classify(refused, has_group=False)) == (Event.REFUSED, Event.IGNORED)


def test_the_error_says_where_it_happened() -> None:
    settings = Settings(brokers="k:9092", kafka={"sasl.username": "ann"})
    of_a_topic = event_error(Polled(Code.TOPIC_AUTHORIZATION_FAILED), settings, "billing")
    of_the_group = event_error(Polled(Code.GROUP_AUTHORIZATION_FAILED, None), settings, "billing")

    assert isinstance(of_a_topic, AuthorizationFailed)
    assert (of_a_topic.topic, of_a_topic.partition, of_a_topic.offset) == ("orders", 2, 7)
    assert "needs Read on topic 'orders'" in str(of_a_topic)
    assert "needs Read on group 'billing'" in str(of_the_group)
    assert "kafka-acls --bootstrap-server k:9092 --add --allow-principal User:ann " in str(of_the_group)
    assert of_the_group.topic is None
