"""What has been moved is deleted, now and then, and nothing waits for it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException

from elsa.delays.trimming import Trimming
from elsa.message import TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pytest

A, B = TopicPartition("shop.delay.1", 0), TopicPartition("shop.delay.4", 2)


FACTS = {"brokers": "k:9092", "user": "ann"}


class Topics:
    def __init__(self) -> None:
        self.asked: list[dict[TopicPartition, int]] = []
        self.futures: list[dict[TopicPartition, Future[Any]]] = []

    def begin_trim(
        self, before: Mapping[TopicPartition, int], *, timeout: float
    ) -> Mapping[TopicPartition, Future[Any]]:
        self.asked.append(dict(before))
        self.futures.append({where: Future() for where in before})
        return self.futures[-1]


def test_only_what_is_new_is_asked_for_and_not_twice_at_a_time(caplog: pytest.LogCaptureFixture) -> None:
    topics = Topics()
    trimming = Trimming(topics, FACTS)
    trimming.run({A: 10, B: 0})
    assert topics.asked == [{A: 10}]

    trimming.run({A: 20, B: 5})
    assert topics.asked[1:] == [{B: 5}]

    topics.futures[0][A].set_result(None)
    topics.futures[1][B].set_exception(OSError("no right to delete"))
    with caplog.at_level("INFO"):
        trimming.run({A: 20, B: 5})
    assert topics.asked[2:] == [{A: 20, B: 5}]
    assert "moved messages were not deleted: no right to delete" in caplog.messages

    for future in topics.futures[2].values():
        future.set_result(None)
    trimming.run({A: 20, B: 5})
    assert len(topics.asked) == 3


def test_at_the_end_it_is_asked_for_anew_and_waited_for() -> None:
    topics = Topics()
    trimming = Trimming(topics, FACTS)
    trimming.run({A: 10})
    trimming.finish({A: 20}, 0.01)

    assert topics.asked == [{A: 10}, {A: 20}]


def test_a_missing_right_is_told_loudly(caplog: pytest.LogCaptureFixture) -> None:
    topics = Topics()
    trimming = Trimming(topics, FACTS)
    trimming.run({A: 10})
    topics.futures[0][A].set_exception(KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)))
    trimming.run({A: 10})

    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        "moved messages were not deleted, and come again if no worker runs for 7 days: "
        "an ACL is missing: this client needs Delete on topic 'shop.delay.1'"
    )
    assert "kafka-acls --bootstrap-server k:9092 --add --allow-principal User:ann " in record.getMessage()


def test_a_partition_that_comes_back_begins_anew() -> None:
    topics = Topics()
    trimming = Trimming(topics, FACTS)
    trimming.run({A: 10})
    topics.futures[0][A].set_result(None)
    trimming.run({A: 10})
    trimming.forget(A)
    trimming.run({A: 10})

    assert topics.asked == [{A: 10}, {A: 10}]
