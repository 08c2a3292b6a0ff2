from __future__ import annotations

import pytest
from confluent_kafka import Consumer, Producer

from elsa.kafka.mock import MockCluster


def test_another_client_produces_and_a_group_reads(mock_kafka: MockCluster) -> None:
    producer = Producer({"bootstrap.servers": mock_kafka.bootstrap})
    producer.produce("orders", b"hello")
    assert producer.flush(10) == 0

    consumer = Consumer(
        {"bootstrap.servers": mock_kafka.bootstrap, "group.id": "billing", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe(["orders"])
    message = consumer.poll(20)
    consumer.close()

    assert message is not None
    assert message.value() == b"hello"


def test_every_broker_has_an_address() -> None:
    with MockCluster(brokers=3) as mock:
        assert len(set(mock.bootstrap.split(","))) == 3


def test_a_cluster_has_at_least_one_broker() -> None:
    with pytest.raises(ValueError, match="brokers must be 1 or more, not 0"):
        MockCluster(brokers=0)
