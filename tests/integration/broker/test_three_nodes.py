"""A cluster of three goes on without any one of its nodes: what is acknowledged survives a kill of its leader."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from elsa.errors import ConfigError
from elsa.kafka import probe
from elsa.testing.kafka import unique_name

if TYPE_CHECKING:
    from elsa.broker import EmbeddedKafka

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def _produce(bootstrap: str, topic: str, count: int) -> list[Message]:
    delivered: list[Message] = []

    def on_delivery(error: object, message: Message) -> None:
        assert error is None
        delivered.append(message)

    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "log_level": 0})
    for number in range(count):
        producer.produce(topic, str(number).encode(), on_delivery=on_delivery)
    assert producer.flush(60) == 0
    return delivered


def test_a_killed_node_costs_nothing_and_comes_back(kafka_cluster: EmbeddedKafka) -> None:
    topic = unique_name("cluster")
    probe.create_topic(kafka_cluster.bootstrap, topic, 3)
    _produce(kafka_cluster.bootstrap, topic, 100)

    kafka_cluster.kill_node(1)
    assert len(kafka_cluster.pids) == 2
    _produce(kafka_cluster.bootstrap, topic, 100)
    kafka_cluster.start_node(1)
    kafka_cluster.stop_node(2)
    _produce(kafka_cluster.bootstrap, topic, 100)
    kafka_cluster.start_node(2)

    assert kafka_cluster.is_alive()
    assert len(kafka_cluster.pids) == 3
    consumer = Consumer({"bootstrap.servers": kafka_cluster.bootstrap, "group.id": "none", "log_level": 0})
    ends = [consumer.get_watermark_offsets(TopicPartition(topic, n), timeout=30)[1] for n in range(3)]
    consumer.close()
    assert sum(ends) == 300


def test_nodes_are_numbered_from_one(kafka_cluster: EmbeddedKafka) -> None:
    with pytest.raises(ConfigError, match="there is no node 4: they are numbered from 1 to 3"):
        kafka_cluster.kill_node(4)


def test_internal_and_new_topics_have_three_replicas(kafka_cluster: EmbeddedKafka) -> None:
    topic = unique_name("replicas")
    probe.create_topic(kafka_cluster.bootstrap, topic, 1)

    assert probe.replicas(kafka_cluster.bootstrap, topic) == 3
    assert probe.topic_config(kafka_cluster.bootstrap, topic)["min.insync.replicas"] == "2"
