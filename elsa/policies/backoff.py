"""Growing pauses between attempts at something that must go on: pure, the caller does the waiting."""

from __future__ import annotations

import random


class Backoff:
    """Pauses that double from `first` to `most` seconds, each drawn from its upper half.

    >>> pauses = Backoff(first=1, most=4)
    >>> [0 < pauses.next() <= 4 for _ in range(5)]
    [True, True, True, True, True]
    """

    def __init__(self, *, first: float, most: float) -> None:
        self._first = first
        self._most = most
        self.failures = 0

    def next(self) -> float:
        """Seconds to wait after one more failure."""
        limit = min(self._most, self._first * 2.0 ** min(self.failures, 32))
        self.failures += 1
        return limit * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    def reset(self) -> None:
        """It worked: the next failure waits `first` again."""
        self.failures = 0
