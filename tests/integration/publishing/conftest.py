"""What the publishing tests share: settings for the session's Kafka, a producer and a fetcher that are closed."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from elsa.config import Settings
from elsa.fetcher import Fetcher
from elsa.groups import Groups
from elsa.producer import Producer
from elsa.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def settings(brokers: str) -> Settings:
    return Settings(name=f"it-{uuid.uuid4().hex[:8]}", brokers=brokers)


@pytest.fixture
def unreachable() -> Settings:
    """Settings that name a port where nobody listens."""
    return Settings(name="it-unreachable", brokers="127.0.0.1:1", send_timeout=2.0)


@pytest.fixture
def producer(settings: Settings) -> Iterator[Producer]:
    producer = Producer(settings)
    yield producer
    producer.close()


@pytest.fixture
def fetcher(settings: Settings) -> Fetcher:
    return Fetcher(settings)


@pytest.fixture
def topics(settings: Settings) -> Topics:
    return Topics(settings)


@pytest.fixture
def groups(settings: Settings) -> Groups:
    return Groups(settings)


@pytest.fixture
def new_name(topics: Topics, request: pytest.FixtureRequest) -> Iterator[str]:
    """A topic name that nobody uses; what is created under it is deleted."""
    name = f"it-{uuid.uuid4().hex[:12]}"
    yield name
    topics.delete(name, missing_ok=True)


@pytest.fixture
def data_set(topic: object, producer: Producer) -> str:
    """Three partitions; partition p holds key/val 10p+1 .. 10p+10."""
    name: str = topic(partitions=3)  # type: ignore[operator]  # the plugin's factory
    for partition in range(3):
        numbers = range(10 * partition + 1, 10 * partition + 11)
        producer.produce(name, [(f"key{n}", f"val{n}") for n in numbers], partition=partition)
    return name
