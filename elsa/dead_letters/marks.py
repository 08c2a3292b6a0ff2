"""Which messages of a dead-letter topic are handled, and the records that keep it: pure, used by the ledger and runs.

The records lie on a compacted topic, so that of each key the last value stays for ever. Format 1, all of it ASCII:

| key | value |
|---|---|
| `1 {topic id} {partition} base` | an offset: everything below it is handled |
| `1 {topic id} {partition} {n}` | base64 of a bit for each offset from n * 8192 on, the lowest bit first |

The id tells a topic from an earlier one of its name, whose records mean nothing any more. Deleted bits have no value.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: offsets of one record
SPAN = 8_192
_VERSION = "1"
_BASE = "base"


@dataclass(frozen=True, slots=True)
class Marks:
    """What is handled of one partition: all below `base`, and above it where a bit is set."""

    base: int = 0
    #: bits by number of the record
    bits: Mapping[int, int] = field(default_factory=dict)

    def has(self, offset: int) -> bool:
        """Whether the message at an offset is handled.

        >>> Marks(5).handle([7], base=5).has(7)
        True
        """
        return offset < self.base or bool(self.bits.get(offset // SPAN, 0) >> offset % SPAN & 1)

    def handle(self, offsets: Iterable[int], base: int) -> Marks:
        """These marks, with offsets added; everything below `base` is handled as well, or is not there."""
        base = max(self.base, base)
        bits = {number: one for number, one in self.bits.items() if (number + 1) * SPAN > base}
        for offset in offsets:
            if offset >= base:
                number, at = divmod(offset, SPAN)
                bits[number] = bits.get(number, 0) | 1 << at
        return Marks(base, bits)

    def until(self, end: int) -> Marks:
        """These marks without those from `end` on, where the log has lost what they spoke of."""
        if self.base <= end and all(number * SPAN + one.bit_length() <= end for number, one in self.bits.items()):
            return self
        kept = {}
        for number, one in self.bits.items():
            if (below := one & (1 << max(0, end - number * SPAN)) - 1) > 0:
                kept[number] = below
        return Marks(min(self.base, end), kept)


def records(topic_id: str, partition: int, before: Marks, after: Marks) -> Iterator[tuple[bytes, bytes | None]]:
    """The (key, value) pairs that lead from one state to another."""
    where = f"{_VERSION} {topic_id} {partition}"
    if after.base != before.base:
        yield f"{where} {_BASE}".encode(), str(after.base).encode()
    for number, bits in after.bits.items():
        if before.bits.get(number) != bits:
            yield f"{where} {number}".encode(), base64.b64encode(bits.to_bytes((bits.bit_length() + 7) // 8, "little"))
    for number in before.bits.keys() - after.bits.keys():
        yield f"{where} {number}".encode(), None


def read(topic_id: str, found: Iterable[tuple[bytes | None, bytes | None]]) -> dict[int, Marks]:
    """What the records of a topic say, by partition; raises ValueError for one that nobody can have written."""
    bases: dict[int, int] = {}
    bits: dict[int, dict[int, int]] = {}
    for key, value in found:
        version, owner, partition, what = _key(key)
        if version != _VERSION:
            raise ValueError(f"the record {key!r} is of another version of Elsa")
        if owner != topic_id:
            continue
        try:
            if what == _BASE:
                bases[int(partition)] = int(value or b"0")
            elif value is None:
                bits.get(int(partition), {}).pop(int(what), None)
            else:
                one = int.from_bytes(base64.b64decode(value, validate=True), "little")
                bits.setdefault(int(partition), {})[int(what)] = one
        except (ValueError, binascii.Error) as error:
            raise ValueError(f"the record {key!r} is damaged") from error
    return {partition: Marks(bases.get(partition, 0), bits.get(partition, {})) for partition in bases.keys() | bits}


def _key(key: bytes | None) -> list[str]:
    parts = (key or b"").decode("ascii", "replace").split(" ")
    if len(parts) != 4:
        raise ValueError(f"a record with the key {key!r} is none of Elsa's")
    return parts
