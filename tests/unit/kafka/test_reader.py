"""The reader turns what the client hands out into messages, ends and errors, over the mock cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from elsa.config import Settings
from elsa.errors import AuthenticationFailed, ConfigError
from elsa.kafka.errors import ClientError
from elsa.kafka.reader import EndOfPartition, OutOfRange, Reader
from elsa.message import Message
from elsa.producer import Producer

if TYPE_CHECKING:
    from elsa.kafka.mock import MockCluster


@pytest.fixture
def settings(mock_kafka: MockCluster) -> Settings:
    return Settings(name="reader", brokers=mock_kafka.bootstrap)


def read_all(reader: Reader, count: int) -> list[Message | EndOfPartition | OutOfRange]:
    found: list[Message | EndOfPartition | OutOfRange] = []
    while len(found) < count:
        found += reader.read(10)
    return found


def test_messages_and_the_end_are_told_apart(settings: Settings) -> None:
    producer = Producer(settings)
    producer.produce("read", [("k", b"a"), b"b"], partition=0)
    producer.close()
    with Reader(settings) as reader:
        reader.assign("read", {0: 0})
        first, second, end = read_all(reader, 3)

    assert isinstance(first, Message)
    assert isinstance(second, Message)
    assert [(m.offset, m.key, m.value) for m in (first, second)] == [(0, b"k", b"a"), (1, None, b"b")]
    assert EndOfPartition("read", 0, 2) == end


def test_an_offset_outside_the_log_is_told(settings: Settings) -> None:
    producer = Producer(settings)
    producer.produce("outside", b"a", partition=0)
    producer.close()
    with Reader(settings) as reader:
        reader.assign("outside", {0: 1_000})
        [event] = read_all(reader, 1)

    assert isinstance(event, OutOfRange)
    assert (event.topic, event.partition) == ("outside", 0)


def test_refused_credentials_end_the_reading() -> None:
    with Reader(Settings(brokers="127.0.0.1:1")) as reader:
        reader._on_error(ClientError(ClientError._ALL_BROKERS_DOWN))

        assert reader.read(0.01) == []
        reader._on_error(ClientError(ClientError._AUTHENTICATION))
        with pytest.raises(AuthenticationFailed):
            reader.read(0.01)


def test_a_wrong_configuration_is_said() -> None:
    with pytest.raises(ConfigError, match="the consumer's configuration is refused"):
        Reader(Settings(kafka={"fetch.min.bytes": -7}))
