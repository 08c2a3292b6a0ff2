"""What is finished above a committed offset, written into the commit's metadata and read back; pure.

The acknowledger writes it with every commit that leaves something open below something finished, so that whoever
owns the partition next does not run that again. Kafka keeps up to 4,096 bytes of metadata beside an offset.

Format 1, all of it ASCII: `E1`, then base64 of

| field | form |
|---|---|
| checksum | 4 bytes, CRC-32 of what follows |
| base | varint, the committed offset that it belongs to |
| span | varint, highest finished offset - base, 0 when nothing above it is finished |
| count | varint, how many offsets are listed |
| flags | 1 byte: bit 0 the listed are finished (else: not finished), bit 1 states follow, bits 3-7 the code's k |
| states | 1 byte, if flagged: bit 0 the partition is halted, bit 1 deaths are listed |
| attempts | varint n, then n times varint offset - base, varint attempts |
| deaths | if listed: varint n, then n times varint gap to the offset before (to base - 1), varint deaths |
| offsets | bits: the gaps between the listed offsets, Rice-coded with k (quotient in ones, a zero, k bits) |

Whichever are fewer are listed, those that are finished or those that are not; offsets that the log does not have
count as either. For any k the code of n offsets in a span of s takes at most n * (k + 1) + s / 2**k bits; with k = 0
that is a bitmap, so it never takes more than one.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: most that Elsa writes: the broker's default limit (`offset.metadata.max.bytes`) is 4,096
MOST_BYTES = 3_500
_MARK = "E1"
#: bits that the offsets may take, so that with the header all fits: 64 bytes for header and checksum
_MOST_BITS = (MOST_BYTES - len(_MARK)) // 4 * 3 * 8 - 64 * 8
#: attempts of so many waiting messages are kept
_MOST_ATTEMPTS = 32
#: of the flags
_IS_FINISHED, _HAS_STATES = 1, 2
#: of the states
_IS_HALTED, _HAS_DEATHS = 1, 2
#: deaths of so many messages are kept, the most of each first
_MOST_DEATHS = 400


@dataclass(frozen=True, slots=True)
class Progress:
    """What was finished above `base`: every offset up to `highest` that is not `missing`."""

    base: int
    highest: int
    missing: frozenset[int] = frozenset()
    #: failed attempts of unfinished messages, by offset
    attempts: Mapping[int, int] = field(default_factory=dict)
    #: nothing of the partition is to run before an operator says so
    is_halted: bool = False
    #: how often a process has died while it handled these offsets
    deaths: Mapping[int, int] = field(default_factory=dict)

    def is_done(self, offset: int) -> bool:
        """Whether a message has been finished before.

        >>> Progress(base=5, highest=9, missing=frozenset({5, 7})).is_done(6)
        True
        """
        return self.base <= offset <= self.highest and offset not in self.missing


def encode(
    base: int,
    highest: int,
    missing: Sequence[int],
    attempts: Mapping[int, int],
    *,
    is_halted: bool = False,
    deaths: Mapping[int, int] | None = None,
) -> str | None:
    """The metadata of a commit at `base`; empty when there is nothing to say, None when it does not fit.

    `missing` are the unfinished offsets below `highest`, ascending, the first of them `base`. Of attempts as many
    are kept as fit.
    """
    has_map = highest > base and bool(missing)
    tries = [(offset - base, count) for offset, count in sorted(attempts.items()) if offset >= base]
    dead = _deaths(base, deaths or {})
    states = (_IS_HALTED if is_halted else 0) | (_HAS_DEATHS if dead else 0)
    if not has_map and not tries and not states:
        return ""
    span, listed, flags = 0, list[int](), 0
    if has_map:
        span = highest - base
        listed = [offset - base for offset in missing]
        if span + 1 - len(missing) < len(missing):
            listed, flags = _others(listed, span), _IS_FINISHED
    k, size = _parameter(len(listed), span)
    if size > 2 * _MOST_BITS:
        return None
    bits = _rice(listed, k)
    for limit in (_MOST_ATTEMPTS, 4, 0):
        body = bytearray()
        for number in (base, span, len(listed)):
            body += _varint(number)
        body.append(flags | k << 3 | (_HAS_STATES if states else 0))
        if states:
            body.append(states)
        body += _varint(len(tries[:limit]))
        for ahead, count in tries[:limit]:
            body += _varint(ahead) + _varint(count)
        body += dead
        body += bits
        text = _MARK + base64.b64encode(zlib.crc32(body).to_bytes(4) + body).decode()
        if len(text) <= MOST_BYTES:
            return text
    return None


def capacity(span: int) -> int | None:
    """How many offsets may be unfinished in a span so that any choice of them, now or later, fits; None for all.

    >>> capacity(20_000), capacity(1_000_000), capacity(1_000_000_000)
    (None, 1860, 957)
    """
    if span < _MOST_BITS:
        return None
    return max(0, *((_MOST_BITS - (span >> k)) // (k + 1) for k in range(32)))


def decode(text: str | None, committed: int) -> Progress | None:
    """What `encode` wrote for this committed offset; None for anything else, whoever wrote it."""
    if not text or not text.startswith(_MARK):
        return None
    try:
        data = base64.b64decode(text[len(_MARK) :], validate=True)
    except (binascii.Error, ValueError):
        return None
    body = data[4:]
    if len(data) < 5 or zlib.crc32(body).to_bytes(4) != data[:4]:
        return None
    try:
        found = _read(body)
    except (IndexError, ValueError):
        return None
    return found if found.base == committed else None


def _read(body: bytes) -> Progress:
    base, at = _read_varint(body, 0)
    span, at = _read_varint(body, at)
    count, at = _read_varint(body, at)
    flags = body[at]
    at += 1
    states = 0
    if flags & _HAS_STATES:
        states = body[at]
        at += 1
    number, at = _read_varint(body, at)
    attempts = {}
    for _ in range(number):
        ahead, at = _read_varint(body, at)
        attempts[base + ahead], at = _read_varint(body, at)
    deaths = {}
    if states & _HAS_DEATHS:
        number, at = _read_varint(body, at)
        offset = base - 1
        for _ in range(number):
            gap, at = _read_varint(body, at)
            offset += gap
            deaths[offset], at = _read_varint(body, at)
    listed = frozenset(base + one for one in _unrice(body[at:], count, flags >> 3))
    if any(offset > base + span for offset in listed):
        raise ValueError("offsets beyond the span")
    if flags & _IS_FINISHED:
        listed = frozenset(range(base, base + span + 1)) - listed
    # nothing is finished above a base without a span
    highest = base + span if span else base - 1
    return Progress(base, highest, listed, attempts, is_halted=bool(states & _IS_HALTED), deaths=deaths)


def _deaths(base: int, deaths: Mapping[int, int]) -> bytes:
    """The list of deaths, empty when there are none above `base`."""
    kept = sorted(((count, offset) for offset, count in deaths.items() if offset >= base), reverse=True)[:_MOST_DEATHS]
    if not kept:
        return b""
    body, previous = bytearray(_varint(len(kept))), base - 1
    for offset, count in sorted((offset, count) for count, offset in kept):
        body += _varint(offset - previous) + _varint(count)
        previous = offset
    return bytes(body)


def _others(listed: Sequence[int], span: int) -> list[int]:
    """The complement within 0..span."""
    absent = set(listed)
    return [number for number in range(span + 1) if number not in absent]


def _parameter(count: int, span: int) -> tuple[int, int]:
    """The k that takes the fewest bits for any `count` offsets in a span, and how many those are at most."""
    if count == 0:
        return 0, 0
    sizes = ((count * (k + 1) + (span >> k), k) for k in range(32))
    size, k = min(sizes)
    # with k = 0 each offset that is not listed is a one and each that is a zero
    return (0, span + 1) if span + 1 <= size else (k, size)


def _rice(numbers: Sequence[int], k: int) -> bytes:
    gaps = [number - previous - 1 for previous, number in pairwise([-1, *numbers])]
    # of gaps there are few different ones
    codes = {gap: _code(gap, k) for gap in set(gaps)}
    # the leading one marks where the bits begin
    bits = "1" + "".join([codes[gap] for gap in gaps])
    return int(bits, 2).to_bytes((len(bits) + 7) // 8)


def _code(gap: int, k: int) -> str:
    rest = format(gap & ((1 << k) - 1), f"0{k}b") if k else ""
    return "1" * (gap >> k) + "0" + rest


def _unrice(data: bytes, count: int, k: int) -> Iterator[int]:
    bits = bin(int.from_bytes(data))[3:]
    at, previous = 0, -1
    for _ in range(count):
        end = bits.index("0", at)
        rest = bits[end + 1 : end + 1 + k]
        if len(rest) < k:
            raise ValueError("cut off")
        gap = (end - at << k) + (int(rest, 2) if k else 0)
        at = end + 1 + k
        previous += gap + 1
        yield previous


def _varint(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
