"""A stream is lazy, ends strictly before its end, and gets past gaps and transaction markers."""

from __future__ import annotations

import gc
import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer as RawProducer

from elsa.errors import BrokerUnavailable, UnknownPartition, UnknownTopic
from elsa.fetcher import Fetcher
from elsa.kafka.reader import Reader
from elsa.message import Record

if TYPE_CHECKING:
    from collections.abc import Iterable

    from elsa.config import Settings
    from elsa.message import Message
    from elsa.producer import Producer
    from elsa.topics import Topics

pytestmark = pytest.mark.broker


def values(messages: Iterable[Message]) -> list[bytes | None]:
    return [message.value for message in messages]


def places(messages: Iterable[Message]) -> list[tuple[int, int]]:
    return [(message.partition, message.offset) for message in messages]


def test_case_16_one_partition(fetcher: Fetcher, data_set: str) -> None:
    assert [b"val%d" % n for n in range(21, 31)] == values(fetcher.stream(data_set, partitions=2))


def test_case_16_the_whole_topic_partition_by_partition(fetcher: Fetcher, data_set: str) -> None:
    assert [b"val%d" % n for n in range(1, 31)] == values(fetcher.stream(data_set))


def test_case_16_a_start_holds_for_every_partition(fetcher: Fetcher, data_set: str) -> None:
    assert values(fetcher.stream(data_set, start=9)) == [b"val10", b"val20", b"val30"]


def test_case_16_the_end_is_exclusive(fetcher: Fetcher, data_set: str) -> None:
    expected = [(partition, offset) for partition in range(3) for offset in (3, 4)]

    assert expected == places(fetcher.stream(data_set, start=3, end=5))


def test_case_16_nothing_is_asked_before_the_first_next(unreachable: Settings) -> None:
    stream = Fetcher(unreachable).stream("orders")
    with pytest.raises(BrokerUnavailable):
        next(stream)


def test_case_16_what_is_produced_meanwhile_is_not_returned(
    fetcher: Fetcher, producer: Producer, data_set: str
) -> None:
    stream = fetcher.stream(data_set)
    first = next(stream)
    for partition in range(3):
        producer.produce(data_set, ["late"], partition=partition)

    assert [b"val%d" % n for n in range(1, 31)] == values([first, *stream])


def test_bounds_by_partition(fetcher: Fetcher, data_set: str) -> None:
    stream = fetcher.stream(data_set, start={0: 9, 1: "latest"}, end={0: 10, 2: 1})

    assert places(stream) == [(0, 9), (2, 0)]
    with pytest.raises(UnknownPartition, match="names partition 2, which is not read"):
        next(fetcher.stream(data_set, start={2: 1}, partitions=[0, 1]))


def test_bounds_by_time(fetcher: Fetcher, producer: Producer, topic: Any) -> None:
    name = topic(partitions=2)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
    for partition in range(2):
        producer.produce(name, [Record(str(n), timestamp=noon + n) for n in range(6)], partition=partition)

    def at(seconds: float) -> datetime:
        return datetime.fromtimestamp(noon + seconds, UTC)

    assert places(fetcher.stream(name, start=at(2), end=at(4))) == [(0, 2), (0, 3), (1, 2), (1, 3)]
    assert places(fetcher.stream(name, start=at(60))) == []
    assert len(places(fetcher.stream(name, end=at(60)))) == 12


def test_bounds_outside_the_log_are_moved_to_its_ends(fetcher: Fetcher, topics: Topics, data_set: str) -> None:
    topics.delete_records(data_set, {0: 8})

    assert places(fetcher.stream(data_set, start=0, end=1_000, partitions=0)) == [(0, 8), (0, 9)]
    assert places(fetcher.stream(data_set, start=1_000)) == []
    assert places(fetcher.stream(data_set, end="earliest")) == []


def test_an_empty_topic_ends_at_once(fetcher: Fetcher, topic: Any) -> None:
    assert list(fetcher.stream(topic(partitions=3))) == []


def test_what_does_not_exist_is_typed(fetcher: Fetcher, new_name: str, data_set: str) -> None:
    with pytest.raises(UnknownTopic):
        next(fetcher.stream(new_name))
    with pytest.raises(UnknownPartition):
        next(fetcher.stream(data_set, partitions=[0, 7]))


def test_transaction_markers_and_aborted_messages_are_passed(fetcher: Fetcher, settings: Settings, topic: Any) -> None:
    name = topic()
    raw = RawProducer({"bootstrap.servers": settings.brokers, "transactional.id": name, "linger.ms": 0})
    raw.init_transactions(30)
    for outcome in ("commit", "abort", "commit", "abort"):
        raw.begin_transaction()
        for number in range(3):
            raw.produce(name, f"{outcome}-{number}".encode())
        raw.flush(30)
        raw.commit_transaction(30) if outcome == "commit" else raw.abort_transaction(30)
    found = places(fetcher.stream(name))
    fetched = fetcher.fetch(name, timeout=10)

    assert [offset for _, offset in found] == [0, 1, 2, 8, 9, 10]
    assert (len(fetched.messages), fetched.high_watermark, fetched.next_offset) == (6, 16, 16)
    assert [offset for _, offset in places(fetcher.stream(name, start=3, end=9))] == [8]


def test_an_open_transaction_is_the_end(fetcher: Fetcher, producer: Producer, settings: Settings, topic: Any) -> None:
    name = topic()
    producer.produce(name, [b"a", b"b"])
    raw = RawProducer({"bootstrap.servers": settings.brokers, "transactional.id": name, "linger.ms": 0})
    raw.init_transactions(30)
    raw.begin_transaction()
    raw.produce(name, b"open")
    raw.flush(30)
    try:
        assert values(fetcher.stream(name)) == [b"a", b"b"]
        assert fetcher.fetch(name).high_watermark == 2
    finally:
        raw.abort_transaction(30)


def test_a_closed_or_forgotten_stream_closes_its_client(
    fetcher: Fetcher, data_set: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[Reader] = []
    close = Reader.close

    def closing(reader: Reader) -> None:
        closed.append(reader)
        close(reader)

    monkeypatch.setattr(Reader, "close", closing)
    stream: Any = fetcher.stream(data_set)
    next(stream)
    stream.close()

    assert len(closed) == 1
    stream = fetcher.stream(data_set)
    next(stream)
    del stream
    gc.collect()

    assert len(closed) == 2
    list(fetcher.stream(data_set))

    assert len(closed) == 3


def test_follow_goes_on_with_what_arrives(fetcher: Fetcher, producer: Producer, data_set: str) -> None:
    stream: Any = fetcher.follow(data_set, start={0: 9, 1: 9, 2: "latest"})
    old = places(itertools.islice(stream, 2))
    producer.send(data_set, b"new", partition=2)

    assert {(0, 9), (1, 9)} == set(old)
    assert next(stream).value == b"new"
    stream.close()


def test_follow_takes_added_partitions(settings: Settings, producer: Producer, topics: Topics, topic: Any) -> None:
    name = topic()
    producer.produce(name, b"first")
    stream: Any = Fetcher(replace(settings, metadata_refresh=0.2)).follow(name, start="earliest")

    assert next(stream).value == b"first"
    topics.add_partitions(name, 2)
    producer.send(name, b"second", partition=1)

    assert next(stream).value == b"second"
    stream.close()
