"""What the tests of the monitor share: settings, a scout that is closed, commits without a member."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as RawPartition

from elsa.config import Settings
from elsa.monitor.scout import Scout
from elsa.producer import Producer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Commit = Callable[[str, str, Mapping[int, int]], None]


@pytest.fixture
def settings(brokers: str) -> Settings:
    return Settings(name=f"it-{uuid.uuid4().hex[:8]}", brokers=brokers)


@pytest.fixture
def scout(settings: Settings) -> Iterator[Scout]:
    with Scout(settings) as scout:
        yield scout


@pytest.fixture
def producer(settings: Settings) -> Iterator[Producer]:
    producer = Producer(settings)
    yield producer
    producer.close()


@pytest.fixture
def commit(brokers: str) -> Commit:
    """`commit(group, topic, {partition: offset})` as a program would that is gone since."""

    def do(group: str, topic: str, offsets: Mapping[int, int]) -> None:
        consumer = Consumer({"bootstrap.servers": brokers, "group.id": group})
        consumer.commit(offsets=[RawPartition(topic, p, o) for p, o in offsets.items()], asynchronous=False)
        consumer.close()

    return do


@pytest.fixture
def filled(producer: Producer, topic: Callable[..., str]) -> Callable[..., str]:
    """`filled(10, 0, 3)` makes a topic whose partitions hold so many messages."""

    def make(*counts: int) -> str:
        name = topic(partitions=len(counts))
        for partition, count in enumerate(counts):
            if count:
                producer.produce(name, ["x"] * count, partition=partition)
        return name

    return make


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("ELSA_") and not name.startswith("ELSA_TEST_"):
            monkeypatch.delenv(name)
