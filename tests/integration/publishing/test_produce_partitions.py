"""Keys land where a Java producer would put them, whoever computes the partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.partitioners import md5, murmur2

if TYPE_CHECKING:
    from elsa.producer import Producer

pytestmark = pytest.mark.broker

KEYS = [b"21", b"foobar", "grüße".encode(), b"", b"\x00\xff", *(b"key-%d" % number for number in range(200))]


def test_the_client_puts_keys_where_murmur2_says(producer: Producer, topic: Any) -> None:
    name = topic(partitions=7)
    places = producer.produce(name, [(key, b"v") for key in KEYS])

    assert [murmur2(key, 7) for key in KEYS] == [place.partition for place in places]


def test_a_rule_of_ours_is_followed(producer: Producer, topic: Any) -> None:
    name = topic(partitions=7)
    places = producer.produce(name, [(key, b"v") for key in KEYS], partitioner="md5")

    assert [md5(key, 7) for key in KEYS] == [place.partition for place in places]


def test_random_reaches_every_partition(producer: Producer, topic: Any) -> None:
    name = topic(partitions=3)
    places = producer.produce(name, 200 * [("same", b"v")], partitioner="random")

    assert {0, 1, 2} == {place.partition for place in places}
