"""What handlers of the benchmarks work on: a wait or a loop, the same for the same message; used by both sides."""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def seconds(number: int) -> float:
    """How long a message takes: 0, 1, 2, 3 or 4 ms, looking random."""
    return zlib.crc32(b"%d" % number) % 5 / 1_000


def key_of(ordering: str, keys: int) -> Callable[[int], int]:
    """The key whose order a message keeps, by its number."""
    if ordering == "none":
        return lambda number: number
    return (lambda number: number % keys) if ordering == "key" else (lambda _: 0)


def burn(loops: int) -> int:
    """Pure Python."""
    total = 0
    for number in range(loops):
        total += number * number
    return total


def loops_for(wanted: float) -> int:
    """How many loops take so many seconds here and now, by the fastest of some tries."""
    loops = 20_000
    best = min(_timed(loops) for _ in range(20))
    return round(loops * wanted / best)


def _timed(loops: int) -> float:
    begun = time.perf_counter()
    burn(loops)
    return time.perf_counter() - begun
