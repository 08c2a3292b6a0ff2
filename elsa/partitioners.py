"""Rules that choose a partition from a key; the producer and its users call them."""

from __future__ import annotations

import hashlib
import random as _random
from typing import TYPE_CHECKING, Protocol

from elsa.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

_MASK = 0xFFFFFFFF
_M = 0x5BD1E995


class Partitioner(Protocol):
    """A rule: from a key (None when there is none) and the number of partitions to one of 0..n-1."""

    def __call__(self, key: bytes | None, partitions: int, /) -> int: ...


def murmur2_hash(key: bytes) -> int:
    """Kafka's 32-bit murmur2 of a key, as Java's clients compute it, made positive.

    >>> murmur2_hash(b"21")
    1173551340
    """
    length = len(key)
    h = (0x9747B28C ^ length) & _MASK
    whole = length & ~3
    for i in range(0, whole, 4):
        k = int.from_bytes(key[i : i + 4], "little") * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = (h * _M & _MASK) ^ k
    if length & 3:
        h ^= int.from_bytes(key[whole:], "little")
        h = h * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return (h ^ h >> 15) & 0x7FFFFFFF


def murmur2(key: bytes | None, partitions: int) -> int:
    """The partition a Java producer chooses for a key; any for None.

    >>> murmur2(b"21", 6)
    0
    """
    return random(None, partitions) if key is None else murmur2_hash(key) % partitions


def md5(key: bytes | None, partitions: int) -> int:
    """The sum of the 16 bytes of the key's MD5, modulo n: for topics keyed by Elsa on Elixir.

    No other client uses this rule, and above 4,081 partitions it can not reach some. None counts as empty.

    >>> md5(b"key1", 2), md5(b"key", 5)
    (1, 1)
    """
    return sum(hashlib.md5(key or b"", usedforsecurity=False).digest()) % partitions


def random(key: bytes | None, partitions: int) -> int:  # noqa: ARG001 - the rule's point is to ignore the key
    """Any partition, each as likely, whatever the key."""
    return _random.randrange(partitions)  # noqa: S311 - spreads load, keeps no secret


def zero(key: bytes | None, partitions: int) -> int:  # noqa: ARG001 - the rule's point is to ignore both
    """Always partition 0 (the default of Elsa on Elixir)."""
    return 0


BY_NAME: dict[str, Partitioner] = {"murmur2": murmur2, "md5": md5, "random": random, "zero": zero}


def resolve(partitioner: str | Callable[[bytes | None, int], int]) -> Partitioner:
    """The rule of that name, or the callable `(key, n) -> int` itself.

    >>> resolve("zero")(b"k", 6)
    0
    """
    if callable(partitioner):
        return partitioner
    rule = BY_NAME.get(partitioner)
    if rule is None:
        raise ConfigError(
            f"there is no partitioner {partitioner!r}", hint=f"use {', '.join(sorted(BY_NAME))} or a callable (key, n)"
        )
    return rule


def choose(rule: Partitioner, key: bytes | None, partitions: int) -> int:
    """What the rule chooses, checked: raises ValueError outside 0..n-1 before anything is sent."""
    partition: object = rule(key, partitions)
    if isinstance(partition, bool) or not isinstance(partition, int) or not 0 <= partition < partitions:
        name = getattr(rule, "__name__", repr(rule))
        raise ValueError(f"partitioner {name} chose {partition!r} for {key!r}, not one of 0..{partitions - 1}")
    return partition
