"""One fetch gives what lies in a partition from an offset on, and says where the next one goes on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from elsa.errors import OffsetOutOfRange, UnknownPartition, UnknownTopic
from elsa.message import Record

if TYPE_CHECKING:
    from elsa.fetcher import Fetcher
    from elsa.producer import Producer
    from elsa.topics import Topics

pytestmark = pytest.mark.broker


def vals(first: int, last: int) -> list[bytes]:
    return [b"val%d" % number for number in range(first, last + 1)]


def test_case_15_a_fetch_starts_at_the_beginning_of_partition_0(fetcher: Fetcher, data_set: str) -> None:
    found = fetcher.fetch(data_set)

    assert (vals(1, 10), 10, 10) == ([m.value for m in found.messages], found.high_watermark, found.next_offset)


def test_case_15_a_fetch_starts_at_an_offset(fetcher: Fetcher, data_set: str) -> None:
    found = fetcher.fetch(data_set, partition=1, offset=3)

    assert (vals(14, 20), 10) == ([m.value for m in found.messages], found.high_watermark)


def test_a_fetch_is_limited_and_the_next_goes_on(fetcher: Fetcher, data_set: str) -> None:
    first = fetcher.fetch(data_set, max_records=4)
    second = fetcher.fetch(data_set, offset=first.next_offset)

    assert (vals(1, 4), 4) == ([m.value for m in first.messages], first.next_offset)
    assert vals(5, 10) == [m.value for m in second.messages]


def test_case_19_past_the_end_is_out_of_range(fetcher: Fetcher, data_set: str) -> None:
    with pytest.raises(OffsetOutOfRange, match=r"offset 11 of .*\[0\] lies outside the log, which has 0..10") as caught:
        fetcher.fetch(data_set, offset=11)

    assert (caught.value.low, caught.value.high, caught.value.offset) == (0, 10, 11)


def test_case_19_at_the_end_there_is_nothing_within_the_timeout(fetcher: Fetcher, data_set: str) -> None:
    found = fetcher.fetch(data_set, offset="latest", timeout=0.3)

    assert (found.messages, found.high_watermark, found.next_offset) == ([], 10, 10)


def test_a_fetch_at_the_end_waits_for_what_comes(fetcher: Fetcher, producer: Producer, data_set: str) -> None:
    delivery = producer.send(data_set, b"late", partition=0)
    found = fetcher.fetch(data_set, offset=10, timeout=20)

    assert [m.value for m in found.messages] == [b"late"]
    assert delivery.result(5).offset == 10


def test_case_19_after_records_are_deleted_a_fetch_starts_at_the_first_left(
    fetcher: Fetcher, topics: Topics, data_set: str
) -> None:
    topics.delete_records(data_set, {0: 8})

    assert vals(9, 10) == [m.value for m in fetcher.fetch(data_set).messages]
    with pytest.raises(OffsetOutOfRange):
        fetcher.fetch(data_set, offset=7)


def test_a_fetch_starts_at_a_time(fetcher: Fetcher, producer: Producer, topic: Any) -> None:
    name = topic()
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    producer.produce(name, [Record(str(n), timestamp=noon.timestamp() + n) for n in range(5)])
    at_three = datetime.fromtimestamp(noon.timestamp() + 3, UTC)

    assert [m.value for m in fetcher.fetch(name, offset=at_three, timeout=5).messages] == [b"3", b"4"]


def test_what_is_not_there_is_typed(fetcher: Fetcher, data_set: str, new_name: str) -> None:
    with pytest.raises(UnknownTopic):
        fetcher.fetch(new_name)
    with pytest.raises(UnknownPartition, match=r"no partition 3, only 0..2"):
        fetcher.fetch(data_set, partition=3)
    with pytest.raises(ValueError, match="'soon' is no place"):
        fetcher.fetch(data_set, offset="soon")
    with pytest.raises(ValueError, match="at least 1"):
        fetcher.fetch(data_set, max_records=0)
