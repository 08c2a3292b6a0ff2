"""Reads from Kafka's own log what a group has committed: an offset that goes back is a commit that was not fenced.

Called by the run at its end.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TOPIC = "__consumer_offsets"
_OFFSET_KEYS = (0, 1)


@dataclass(frozen=True, slots=True)
class Committed:
    """One commit of one partition, `at` in milliseconds of the epoch (the broker's clock)."""

    group: str
    topic: str
    partition: int
    offset: int
    at: int


def parse(key: bytes, value: bytes | None) -> Committed | None:
    """A record of the topic; None for one that is no commit (a group's members, or an offset that was forgotten)."""
    (version,) = struct.unpack_from(">h", key)
    if version not in _OFFSET_KEYS or value is None:
        return None
    group, at = _text(key, 2)
    topic, at = _text(key, at)
    (partition,) = struct.unpack_from(">i", key, at)
    value_version, offset = struct.unpack_from(">hq", value)
    # from version 3 on the leader's epoch follows, from 4 on texts have compact lengths
    at = 14 if value_version >= 3 else 10
    length, at = _varint(value, at) if value_version >= 4 else (struct.unpack_from(">h", value, at)[0] + 1, at + 2)
    (milliseconds,) = struct.unpack_from(">q", value, at + length - 1)
    return Committed(group, topic, partition, offset, milliseconds)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


def _text(data: bytes, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from(">h", data, at)
    begin = at + 2
    return data[begin : begin + length].decode(), begin + length


def backward(commits: Iterable[Committed]) -> list[tuple[Committed, Committed]]:
    """Each commit that is below the one before it of the same partition, with that one."""
    last: dict[tuple[str, str, int], Committed] = {}
    found = []
    for commit in commits:
        place = commit.group, commit.topic, commit.partition
        before = last.get(place)
        if before is not None and commit.offset < before.offset:
            found.append((before, commit))
        last[place] = commit
    return found
