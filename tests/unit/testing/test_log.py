"""The topics in memory, and the client that a Producer writes to them with."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.kafka.errors import ClientException
from elsa.message import TopicPartition
from elsa.testing import FakeClock
from elsa.testing.log import MemoryClient, MemoryLog


@pytest.fixture
def log() -> MemoryLog:
    return MemoryLog(FakeClock(1000), {"orders": 3})


def produce(log: MemoryLog, topic: str, value: Any, key: Any = None, partition: int = -1, *, at: int = 0) -> Any:
    reports: list[Any] = []
    MemoryClient(log).produce(topic, value, key, partition, lambda *report: reports.append(report), None, at, None)
    ((error, report),) = reports
    return error, report


def test_a_message_lies_where_its_report_says(log: MemoryLog) -> None:
    _, first = produce(log, "orders", "text", "k", 1)
    _, second = produce(log, "orders", b"bytes", None, 1, at=5000)

    assert [(first.partition(), first.offset()), (second.partition(), second.offset())] == [(1, 0), (1, 1)]
    assert [(one.key(), one.value(), one.timestamp()) for one in log.read(TopicPartition("orders", 1))] == [
        (b"k", b"text", (1, 1_000_000)),
        (None, b"bytes", (1, 5000)),
    ]


def test_messages_without_a_key_take_turns(log: MemoryLog) -> None:
    found = [produce(log, "orders", b"x")[1].partition() for _ in range(4)]

    assert found == [0, 1, 2, 0]


def test_a_topic_is_made_by_its_first_message_and_told_once(log: MemoryLog) -> None:
    told: list[str] = []
    log.created = told.append
    for _ in range(2):
        produce(log, "new", b"x")

    assert told == ["new"]
    assert log.counts() == {"new": 1}
    assert log.partition_count("orders") == 3


def test_everything_is_listed_in_the_order_it_was_sent(log: MemoryLog) -> None:
    for topic, value in (("b", b"1"), ("a", b"2"), ("b", b"3")):
        produce(log, topic, value)

    assert [one.value() for one in log.messages()] == [b"1", b"2", b"3"]
    assert [one.value() for one in log.messages("b")] == [b"1", b"3"]
    assert log.messages("nothing") == []


def test_refusals_count_down(log: MemoryLog) -> None:
    log.refusals["orders"] = ("TOPIC_AUTHORIZATION_FAILED", 2)
    errors = [produce(log, "orders", b"x")[0] for _ in range(3)]

    assert [error and error.name() for error in errors] == ["TOPIC_AUTHORIZATION_FAILED"] * 2 + [None]
    assert len(log.messages("orders")) == 1


def test_sizes_are_limited_as_by_client_and_broker(log: MemoryLog) -> None:
    error, _ = produce(log, "orders", b"x" * 1_048_589)
    assert error.name() == "MSG_SIZE_TOO_LARGE"
    # dead letters carry headers, so their topics take more
    assert produce(log, "orders.billing.dlq", b"x" * 1_048_589)[0] is None
    with pytest.raises(ClientException):
        produce(log, "orders", b"x" * 10_485_761)
