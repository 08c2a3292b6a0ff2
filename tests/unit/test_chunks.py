"""Chunks of a limited size in bytes."""

from __future__ import annotations

import string
from typing import Any

import pytest

from elsa.chunks import chunk_by_bytes, message_size
from elsa.message import Message, Record


@pytest.mark.parametrize(
    ("items", "limit"),
    [(list(string.ascii_lowercase), 100), ([("k", letter) for letter in string.ascii_lowercase], 120)],
)
def test_case_03_chunks_stay_under_the_limit_in_order(items: list[Any], limit: int) -> None:
    chunks = list(chunk_by_bytes(items, limit))

    assert [len(chunk) for chunk in chunks] == [9, 9, 8]
    assert items == [item for chunk in chunks for item in chunk]


def test_an_oversize_item_stands_alone_and_no_chunk_is_empty() -> None:
    assert list(chunk_by_bytes(["xxxx", "a", "b", "yyyy", "c"], 3, len)) == [["xxxx"], ["a", "b"], ["yyyy"], ["c"]]


def test_nothing_gives_no_chunk() -> None:
    assert list(chunk_by_bytes([])) == []


def test_chunks_are_lazy() -> None:
    def endless() -> Any:
        while True:
            yield "ab"

    assert next(chunk_by_bytes(endless(), 5, len)) == ["ab", "ab"]


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ("ø", 12),
        ((None, None), 10),
        (Record(b"12", key="3", headers={"h": "45", "n": None}), 17),
        (Message("t", 0, 0, b"k", b"v", (("h", b"1"),)), 14),
        ({"value": "v", "headers": [("a", b"1"), ("a", b"2")]}, 15),
    ],
)
def test_a_message_counts_key_value_headers_and_10(message: Any, size: int) -> None:
    assert size == message_size(message)


def test_a_limit_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must be above 0"):
        list(chunk_by_bytes(["a"], 0))
