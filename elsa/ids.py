"""Ids of messages: unique without a server, and in the order of their making."""

from __future__ import annotations

import os
import time
import uuid


def uuid7() -> str:
    """A UUID of version 7 (RFC 9562): the milliseconds of the epoch, then 74 random bits.

    >>> first = uuid7()
    >>> len(first), first[14]
    (36, '7')
    """
    milliseconds = time.time_ns() // 1_000_000
    number = milliseconds << 80 | int.from_bytes(os.urandom(10))
    # version 7, variant 10
    number = number & ~(0xF << 76) | 0x7 << 76
    number = number & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=number))
