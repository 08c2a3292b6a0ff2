"""Whatever form messages are given in, they land as given: pairs, lone values, records, with headers and tombstones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.message import Record

if TYPE_CHECKING:
    from elsa.fetcher import Fetcher
    from elsa.producer import Producer

pytestmark = pytest.mark.broker


def landed(fetcher: Fetcher, topic: str, partition: int = 0) -> list[Any]:
    return [(message.key, message.value) for message in fetcher.fetch(topic, partition, timeout=5).messages]


def test_case_07_pairs_land_in_order(producer: Producer, fetcher: Fetcher, topic: Any) -> None:
    name = topic()
    places = producer.produce(name, [("key1", "value1"), ("key2", "value2")])

    assert landed(fetcher, name) == [(b"key1", b"value1"), (b"key2", b"value2")]
    assert [place.offset for place in places] == [0, 1]


def test_case_07_a_lone_value_has_no_key(producer: Producer, fetcher: Fetcher, topic: Any) -> None:
    name = topic()
    producer.produce(name, "this is the message")

    assert landed(fetcher, name) == [(None, b"this is the message")]


def test_case_07_plain_values_land_with_and_without_a_partition(
    producer: Producer, fetcher: Fetcher, topic: Any
) -> None:
    name = topic()
    producer.produce(name, ["one", "two"])
    producer.produce(name, ["three", "four"], partition=0)

    assert [value for _, value in landed(fetcher, name)] == [b"one", b"two", b"three", b"four"]


def test_case_07_a_partition_takes_everything(producer: Producer, fetcher: Fetcher, topic: Any) -> None:
    name = topic(partitions=2)
    producer.produce(name, [("a", "1"), ("b", "2"), "3"], partition=1)

    assert len(landed(fetcher, name, 1)) == 3
    assert fetcher.fetch(name, 0, timeout=0.1).high_watermark == 0


def test_case_07_nothing_sends_nothing(producer: Producer, fetcher: Fetcher, topic: Any) -> None:
    name = topic()

    assert producer.produce(name, []) == []
    assert fetcher.fetch(name, timeout=0.1).high_watermark == 0


def test_case_08_headers_arrive_equal_in_order_and_with_duplicates(
    producer: Producer, fetcher: Fetcher, topic: Any
) -> None:
    name = topic()
    producer.produce(
        name,
        [
            {"key": "k", "value": "1", "headers": {"header1": "one", "header2": "two"}},
            {"key": "k", "value": "2", "headers": {"header2": "two"}},
            Record("3", headers=[("same", "1"), ("other", None), ("same", b"2")]),
        ],
    )

    assert [message.headers for message in fetcher.fetch(name, timeout=5).messages] == [
        (("header1", b"one"), ("header2", b"two")),
        (("header2", b"two"),),
        (("same", b"1"), ("other", None), ("same", b"2")),
    ]


def test_case_12_none_and_empty_stay_different(producer: Producer, fetcher: Fetcher, topic: Any) -> None:
    name = topic()
    sent = [("k", None), ("k", b""), (None, b"v"), (b"", b"v"), (None, None)]
    producer.produce(name, sent)

    assert landed(fetcher, name) == [(b"k", None), (b"k", b""), (None, b"v"), (b"", b"v"), (None, None)]


def test_a_timestamp_is_kept(producer: Producer, fetcher: Fetcher, topic: Any) -> None:
    name = topic()
    producer.produce(name, Record(b"v", timestamp=1_500_000_000.25))
    [message] = fetcher.fetch(name, timeout=5).messages

    assert (message.timestamp, message.timestamp_type) == (1_500_000_000.25, "create")
