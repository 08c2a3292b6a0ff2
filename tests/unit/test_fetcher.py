"""The fetcher over a scripted reader: where it begins, how it ends, and that it never loops."""

from __future__ import annotations

from typing import Any, Self

import pytest

from elsa.config import Settings
from elsa.errors import BrokerUnavailable, OffsetOutOfRange
from elsa.fetcher import Fetcher
from elsa.kafka.admin import PartitionInfo
from elsa.kafka.reader import EndOfPartition, OutOfRange
from elsa.message import Message


class FakeAdmin:
    low, high = 0, 10

    def partitions(self, topic: str) -> list[PartitionInfo]:
        return [PartitionInfo(0, 1, (1,), (1,))]

    def offsets(self, partitions: Any, place: str) -> dict[Any, int]:
        return dict.fromkeys(partitions, self.low if place == "earliest" else self.high)


class FakeReader:
    """Gives out a script of slices, then nothing for ever."""

    def __init__(self, script: list[list[Any]]) -> None:
        self.script = script
        self.assigned: list[dict[int, int]] = []
        self.is_closed = False

    def __call__(self, settings: Settings, **options: Any) -> FakeReader:
        return self

    def assign(self, topic: str, offsets: dict[int, int]) -> None:
        self.assigned.append(offsets)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        self.assigned.append({partition: offset})

    def add(self, topic: str, offsets: dict[int, int]) -> None:
        self.assigned.append(offsets)

    def read(self, timeout: float, limit: int = 500) -> list[Any]:
        return self.script.pop(0)[:limit] if self.script else []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.is_closed = True


def at(*offsets: int) -> list[Any]:
    return [Message("orders", 0, offset, None, b"v") for offset in offsets]


def end(offset: int) -> EndOfPartition:
    return EndOfPartition("orders", 0, offset)


@pytest.fixture
def fetcher() -> Fetcher:
    fetcher = Fetcher(Settings())
    fetcher._admin = FakeAdmin()  # type: ignore[assignment]  # duck-typed
    return fetcher


def reading(monkeypatch: pytest.MonkeyPatch, *script: list[Any]) -> FakeReader:
    reader = FakeReader(list(script))
    monkeypatch.setattr("elsa.fetcher.Reader", reader)
    return reader


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ([at(0, 1, 5, 9)], [0, 1, 5, 9]),
        ([at(0, 1), [end(10)]], [0, 1]),
        ([[end(10)]], []),
        ([[end(3)], at(4), at(7), [end(12)]], [4, 7]),
        ([at(3, 12, 13)], [3]),
        ([[*at(8), end(10), *at(11)]], [8]),
    ],
    ids=["to the end", "markers at the end", "only markers", "markers between", "beyond the end", "mixed"],
)
def test_a_stream_ends_at_its_end_whatever_lies_there(
    monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher, script: list[list[Any]], expected: list[int]
) -> None:
    reader = reading(monkeypatch, *script)

    assert expected == [message.offset for message in fetcher.stream("orders")]
    assert reader.is_closed


def test_a_stream_goes_on_behind_what_retention_took(monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher) -> None:
    reader = reading(monkeypatch, at(0), [OutOfRange("orders", 0, 1)], at(6, 9))
    stream = fetcher.stream("orders")
    next(stream)
    fetcher._admin.low = 6  # type: ignore[attr-defined]  # the fake's

    assert [message.offset for message in stream] == [6, 9]
    assert reader.assigned == [{0: 0}, {0: 6}]


def test_a_stream_that_hears_nothing_says_where_it_stands(monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher) -> None:
    reader = reading(monkeypatch, at(0, 1))
    monkeypatch.setattr("elsa.fetcher.STALLED_SECONDS", 0.0)
    stream = fetcher.stream("orders")
    with pytest.raises(BrokerUnavailable, match=r"nothing came from orders\[0\] for 0 s at offset 2, its end is 10"):
        list(stream)

    assert reader.is_closed


def test_messages_of_another_partition_are_left_out(monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher) -> None:
    reading(monkeypatch, [Message("orders", 7, 0, None, b"stale"), *at(9)])

    assert [message.offset for message in fetcher.stream("orders")] == [9]


def test_a_fetch_says_where_the_next_goes_on_behind_markers(monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher) -> None:
    reading(monkeypatch, at(3, 4), [end(10)])
    found = fetcher.fetch("orders", offset=3)

    assert ([m.offset for m in found.messages], found.high_watermark, found.next_offset) == ([3, 4], 10, 10)


def test_a_fetch_takes_no_more_than_it_may(monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher) -> None:
    reading(monkeypatch, at(0, 1, 2), at(3, 4, 5))

    assert fetcher.fetch("orders", max_records=4).next_offset == 4


def test_a_fetch_whose_offset_vanishes_is_out_of_range(monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher) -> None:
    reading(monkeypatch, [OutOfRange("orders", 0, 3)])
    with pytest.raises(OffsetOutOfRange, match="was deleted while it was read"):
        fetcher.fetch("orders", offset=3)


def test_following_goes_on_behind_what_retention_took(monkeypatch: pytest.MonkeyPatch, fetcher: Fetcher) -> None:
    reader = reading(monkeypatch, at(4), [OutOfRange("orders", 0, 5), end(9)], at(7))
    stream: Any = fetcher.follow("orders", start=4)
    first = next(stream)
    fetcher._admin.low = 7  # type: ignore[attr-defined]  # the fake's

    assert [first.offset, next(stream).offset] == [4, 7]
    assert reader.assigned == [{0: 4}, {0: 7}]
    stream.close()

    assert reader.is_closed
