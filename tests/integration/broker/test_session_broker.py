"""The session's broker is a real Kafka: what one client produces to a created topic, a group reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Producer

if TYPE_CHECKING:
    from elsa.testing.kafka import Groups, Topics


@pytest.mark.broker
@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_a_group_reads_what_was_produced(brokers: str, topic: Topics, group: Groups, protocol: str) -> None:
    name = topic(partitions=2)
    producer = Producer({"bootstrap.servers": brokers})
    producer.produce(name, b"hello")
    producer.flush(10)

    consumer = Consumer(
        {
            "bootstrap.servers": brokers,
            "group.id": group(),
            "auto.offset.reset": "earliest",
            "group.protocol": protocol,
        }
    )
    consumer.subscribe([name])
    message = consumer.poll(20)
    consumer.close()

    assert message is not None
    assert message.value() == b"hello"
