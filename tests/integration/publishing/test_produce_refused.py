"""What can't be sent is refused with a typed error, at once, and with nothing sent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from elsa.errors import BrokerUnavailable, MessageTooLarge, NotStarted, ProduceError, UnknownPartition, UnknownTopic
from elsa.message import Record
from elsa.producer import Producer

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.fetcher import Fetcher
    from elsa.topics import Topics

pytestmark = pytest.mark.broker


def test_case_11_a_stopped_producer_raises_not_started(producer: Producer, settings: Settings, topic: Any) -> None:
    name = topic()
    producer.produce(name, b"v")
    producer.close()

    with pytest.raises(NotStarted, match=settings.name):
        producer.send(name, b"v")


def test_case_11_an_unknown_topic_is_typed_and_stays_unknown(producer: Producer, topics: Topics, new_name: str) -> None:
    with pytest.raises(UnknownTopic) as caught:
        producer.send(new_name, b"v")
    with pytest.raises(UnknownTopic):
        producer.produce(new_name, [b"v"])

    assert (new_name, "UNKNOWN_TOPIC_OR_PART") == (caught.value.topic, caught.value.code)
    assert not topics.exists(new_name)


def test_case_11_a_topic_created_meanwhile_is_found(producer: Producer, topics: Topics, new_name: str) -> None:
    with pytest.raises(UnknownTopic):
        producer.send(new_name, b"v")
    topics.create(new_name)

    assert producer.send(new_name, b"v").result(10).offset == 0


def test_an_unknown_partition_sends_nothing(producer: Producer, fetcher: Fetcher, topic: Any) -> None:
    name = topic(partitions=2)
    with pytest.raises(UnknownPartition, match=r"no partition 2, only 0..1"):
        producer.produce(name, [Record(b"a", partition=0), Record(b"b", partition=2)])

    assert fetcher.fetch(name, 0, timeout=0.1).high_watermark == 0


def test_a_partition_added_later_can_be_sent_to(producer: Producer, topics: Topics, topic: Any) -> None:
    name = topic()
    producer.produce(name, b"v")
    topics.add_partitions(name, 3)

    assert producer.send(name, b"v", partition=2).result(10).partition == 2


def test_case_05_the_messages_behind_a_refused_one_are_told_apart(settings: Settings, topic: Any) -> None:
    name = topic(config={"max.message.bytes": "20000"})
    producer = Producer(replace(settings, kafka={"batch.size": 10_000}))
    records = [Record(f"value-{number}") for number in range(1_331)]
    records += [Record("x" * 30_000, key=str(number)) for number in range(669)]
    with pytest.raises(MessageTooLarge) as caught:
        producer.produce(name, records, partition=0)
    producer.close()
    error = caught.value

    assert (len(error.delivered), len(error.failed)) == (1_331, 669)
    assert records[1_331:] == error.failed
    assert "too large" in error.reason


def test_a_large_message_does_not_take_its_neighbours_along(producer: Producer, fetcher: Fetcher, topic: Any) -> None:
    name = topic()
    big = Record(b"x" * 2_000_000)
    with pytest.raises(MessageTooLarge) as caught:
        producer.produce(name, [b"before", big, b"after"])

    assert [big] == caught.value.failed
    assert [m.value for m in fetcher.fetch(name, timeout=5).messages] == [b"before", b"after"]


def test_what_exceeds_the_client_is_refused_by_send(producer: Producer, topic: Any) -> None:
    name = topic()
    with pytest.raises(MessageTooLarge):
        producer.send(name, b"x" * 11_000_000)


@pytest.fixture
def short_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elsa.partitions.METADATA_SECONDS", 0.5)


@pytest.mark.usefixtures("short_look_up")
def test_nobody_answering_is_said_by_produce_and_by_the_delivery(unreachable: Settings) -> None:
    producer = Producer(unreachable)
    with pytest.raises(BrokerUnavailable, match=r"127.0.0.1:1"):
        producer.produce("orders", b"v")
    delivery = producer.send("orders", b"v")

    assert isinstance(delivery.exception(30), BrokerUnavailable)
    assert producer.close() == 0


@pytest.mark.usefixtures("short_look_up")
def test_closing_while_nobody_answers_fails_the_deliveries(
    unreachable: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    producer = Producer(replace(unreachable, send_timeout=60.0))
    delivery = producer.send("orders", b"v")

    assert producer.close(0.2) == 1
    assert "the producer was closed" in str(delivery.exception(5))
    assert "1 messages were not confirmed by Kafka within 0.2 s and are given up" in caplog.messages


def test_a_late_topic_fails_nothing_else(producer: Producer, topic: Any, new_name: str) -> None:
    async def send_all() -> list[object]:
        good = [producer.send(name, str(n)) for n in range(5)]
        with pytest.raises(UnknownTopic):
            producer.send(new_name, b"v")
        return [await delivery for delivery in good]

    name = topic()

    assert len(asyncio.run(send_all())) == 5
    assert not isinstance(producer.send(name, b"v").exception(10), ProduceError)


def test_a_key_of_the_wrong_type_is_named(producer: Producer, topic: Any) -> None:
    with pytest.raises(TypeError, match="key=5 is int, not bytes, str or None"):
        producer.send(topic(), b"v", key=5)  # type: ignore[arg-type]  # the point of the test
