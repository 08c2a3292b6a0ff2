"""Searching a topic: by key, by value, by predicate; it ends also when nothing matches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.message import Record

if TYPE_CHECKING:
    from elsa.fetcher import Fetcher
    from elsa.producer import Producer

pytestmark = pytest.mark.broker


def test_case_17_keys_that_contain_a_text(fetcher: Fetcher, data_set: str) -> None:
    expected = [b"key2", *(b"key%d" % number for number in range(20, 30))]

    assert expected == [message.key for message in fetcher.search_keys(data_set, "key2")]


def test_case_17_values_that_contain_a_text(fetcher: Fetcher, data_set: str) -> None:
    assert [message.value for message in fetcher.search_values(data_set, b"val19")] == [b"val19"]


def test_case_17_a_predicate_in_order(fetcher: Fetcher, data_set: str) -> None:
    found = fetcher.search(data_set, lambda message: message.partition == 2 and b"3" in (message.key or b""))

    assert [message.key for message in found] == [b"key23", b"key30"]


def test_case_17_no_match_is_empty_and_ends(fetcher: Fetcher, data_set: str) -> None:
    assert list(fetcher.search_values(data_set, "nowhere")) == []


def test_an_empty_text_matches_all_but_nothing_matches_none(fetcher: Fetcher, producer: Producer, topic: Any) -> None:
    name = topic()
    producer.produce(name, [Record(None, key="k"), Record("v"), Record(b"", key=b"")])

    assert [message.offset for message in fetcher.search_keys(name, "")] == [0, 2]
    assert [message.offset for message in fetcher.search_values(name, "")] == [1, 2]


def test_a_search_has_the_bounds_of_a_stream(fetcher: Fetcher, data_set: str) -> None:
    found = fetcher.search_keys(data_set, "key", start=8, end={0: 9, 2: 9}, partitions=[0, 2])

    assert [message.key for message in found] == [b"key9", b"key29"]
