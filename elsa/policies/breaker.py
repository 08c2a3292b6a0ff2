"""When too many messages of a partition become dead letters, it is an outage: pure, asked by the partition's worker.

Dead letters are for messages that are wrong. When nearly every message fails, what they need is wrong, and a topic
full of dead letters helps nobody: the partition halts, and an operator lets it go on.
"""

from __future__ import annotations

from collections import deque

#: what a share is taken of
WINDOW_SECONDS = 60.0
#: fewer dead letters than these within the window are no outage, whatever their share
LEAST_DEAD = 10


class Breaker:
    """Counts what a partition's messages came to; its owner's lock guards it, times are of the monotonic clock.

    >>> breaker = Breaker(0.5)
    >>> breaker.passed(2, now=0.0)
    >>> [breaker.dead(now=1.0) for _ in range(10)]
    [None, None, None, None, None, None, None, None, None, (10, 12)]
    """

    def __init__(self, ratio: float) -> None:
        self.ratio = ratio
        #: (when, how many passed, how many are dead)
        self._counts: deque[tuple[float, int, int]] = deque()
        self._passed = 0
        self._dead = 0

    def passed(self, count: int, *, now: float) -> None:
        """So many were handled."""
        self._count(now, count, 0)

    def dead(self, *, now: float) -> tuple[int, int] | None:
        """One is to become a dead letter; when that is one too many: how many of how many, and it counts from 0 again.

        The one that is asked for is among them, and is to be no dead letter then.
        """
        self._count(now, 0, 1)
        whole = self._passed + self._dead
        if self._dead < LEAST_DEAD or self._dead <= self.ratio * whole:
            return None
        found = self._dead, whole
        self._counts.clear()
        self._passed = self._dead = 0
        return found

    def _count(self, now: float, passed: int, dead: int) -> None:
        while self._counts and now - self._counts[0][0] > WINDOW_SECONDS:
            _, old_passed, old_dead = self._counts.popleft()
            self._passed -= old_passed
            self._dead -= old_dead
        self._passed += passed
        self._dead += dead
        if self._counts and now - self._counts[-1][0] < 1.0:
            # what is counted within a second is one entry: a window has at most 61
            when, before_passed, before_dead = self._counts.pop()
            self._counts.append((when, before_passed + passed, before_dead + dead))
        else:
            self._counts.append((now, passed, dead))
