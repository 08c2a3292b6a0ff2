"""The rules that choose partitions, against known values and against the client library's own."""

from __future__ import annotations

import random as stdlib_random
from collections import Counter

import pytest
from confluent_kafka import cimpl

from elsa.errors import ConfigError
from elsa.partitioners import BY_NAME, choose, md5, murmur2, murmur2_hash, random, resolve, zero

JAVA = [
    (b"21", -973932308),
    (b"foobar", -790332482),
    (b"a-little-bit-long-string", -985981536),
    (b"a-little-bit-longer-string", -1486304829),
    (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
    (b"abc", 479470107),
]


@pytest.mark.parametrize(("key", "expected"), JAVA)
def test_murmur2_is_the_hash_of_the_java_client(key: bytes, expected: int) -> None:
    assert expected & 0x7FFFFFFF == murmur2_hash(key)


def test_murmur2_agrees_with_librdkafka_on_any_key() -> None:
    dice = stdlib_random.Random(1)
    for _ in range(2_000):
        key, partitions = dice.randbytes(dice.randrange(40)), dice.randrange(1, 100)

        assert cimpl.murmur2(key, partitions) == murmur2(key, partitions), key


def test_case_01_md5_sums_the_digest() -> None:
    assert (md5(b"key1", 2), md5(b"key", 5)) == (1, 1)


def test_md5_takes_no_key_as_an_empty_one() -> None:
    assert md5(b"", 7) == md5(None, 7)


def test_case_01_random_spreads_evenly() -> None:
    drawn = Counter(random(b"the same key", 4) for _ in range(4_000))

    assert {0, 1, 2, 3} == drawn.keys()
    assert all(850 <= count <= 1_150 for count in drawn.values())


def test_case_01_random_of_one_partition_is_0() -> None:
    assert {0} == {random(None, 1) for _ in range(50)}


def test_murmur2_without_a_key_takes_any_partition() -> None:
    assert {0, 1, 2} == {murmur2(None, 3) for _ in range(200)}


def test_zero_is_always_0() -> None:
    assert {0} == {zero(key, 9) for key in (b"a", b"b", None)}


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_every_rule_stays_within_the_partitions(name: str) -> None:
    rule = resolve(name)

    assert all(0 <= choose(rule, key, n) < n for key in (None, b"", b"k", b"\xff" * 9) for n in (1, 2, 7))


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no partitioner 'crc'\n.*md5, murmur2, random, zero or a callable"):
        resolve("crc")


@pytest.mark.parametrize("chosen", [3, -1, True, 1.0, None])
def test_a_partition_that_is_none_of_them_is_refused(chosen: object) -> None:
    def rule(key: bytes | None, partitions: int) -> int:
        return chosen  # type: ignore[return-value]  # that is the point

    with pytest.raises(ValueError, match=r"partitioner rule chose .* not one of 0..2"):
        choose(rule, b"k", 3)
