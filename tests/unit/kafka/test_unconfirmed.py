"""A message that librdkafka takes for written, though the broker has refused it and taken the next one only.

That is how a partition behaves whose leader is just becoming it: the first request comes a moment too early, the
second, sent before the answer to the first was there, does not. The broker knows nothing of the producer in that
partition and does not miss the first; the client concludes from the second that the first was written, too.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Message, TopicPartition
from confluent_kafka import KafkaError as ClientError

from elsa.config import Settings
from elsa.producer import Producer

if TYPE_CHECKING:
    from .refusing import RefusingMock

PRODUCE = 0
TIMEOUT = 30.0
REFUSALS = [
    ClientError.NOT_LEADER_FOR_PARTITION,
    ClientError.UNKNOWN_TOPIC_OR_PART,
    ClientError.NOT_ENOUGH_REPLICAS,
]


def written(brokers: str, topic: str, partition: int) -> list[Message]:
    """All that a partition holds."""
    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": "reader",
            "auto.offset.reset": "earliest",
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, partition, 0)])
    found = []
    while (raw := consumer.poll(TIMEOUT)) is not None and raw.error() is None:
        found.append(raw)
    consumer.close()
    return found


@pytest.mark.parametrize("refusal", REFUSALS)
def test_it_is_sent_again(refusing_mock: RefusingMock, refusal: int, caplog: pytest.LogCaptureFixture) -> None:
    producer = Producer(Settings(name="again", brokers=refusing_mock.bootstrap, send_linger=0.0))
    producer.warm_up("t")
    producer.send("t", b"elsewhere", partition=1).result(TIMEOUT)
    # long enough that the second is under way before the first is refused
    refusing_mock.slow_down(500)
    refusing_mock.answer(PRODUCE, [refusal])
    with caplog.at_level(logging.WARNING, "elsa.producer"):
        first = producer.send("t", b"first", key=b"k", partition=0, headers={"a": "1"}, timestamp=1_000.5, id="x")
        time.sleep(0.1)  # or both were one request
        second = producer.send("t", b"second", partition=0)
        where = first.result(TIMEOUT)
        second.result(TIMEOUT)
    refusing_mock.slow_down(0)
    producer.close()

    later, again = written(refusing_mock.bootstrap, "t", 0)
    assert (later.key(), later.value(), later.headers()) == (None, b"second", None)
    assert (again.key(), again.value(), again.headers()) == (b"k", b"first", [("a", b"1"), ("elsa-id", b"x")])
    assert again.timestamp()[1] == 1_000_500
    assert (where.partition, where.offset) == (0, 1)
    assert [record.message for record in caplog.records] == ["a message may not have been written, it is sent again"]
