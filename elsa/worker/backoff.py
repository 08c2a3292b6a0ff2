"""When a worker process that died is replaced: at once the first time, slower and slower in a crash loop.

Called by the supervisor, one per place; pure, the caller does the waiting.
"""

from __future__ import annotations

MIN_LIFE_SECONDS = 5.0
LONGEST_SECONDS = 30.0


class RespawnBackoff:
    """Counts the short lives of one place.

    The first death is answered at once. From the second short life in a row on, the successor starts no sooner
    than `min_life` seconds after its predecessor did, then twice that, up to `longest`.

    >>> backoff = RespawnBackoff(min_life=5)
    >>> [backoff.after(lived=1.0) for _ in range(5)]
    [0.0, 4.0, 9.0, 19.0, 29.0]
    >>> backoff.after(lived=60.0)
    0.0
    """

    def __init__(self, min_life: float = MIN_LIFE_SECONDS, longest: float = LONGEST_SECONDS) -> None:
        self._min_life = min_life
        self._longest = longest
        self.short_lives = 0

    def after(self, lived: float) -> float:
        """Seconds to wait before the successor of a process that lived so long."""
        if lived >= self._min_life:
            self.short_lives = 0
            return 0.0
        self.short_lives += 1
        if self.short_lives == 1:
            return 0.0
        gap = min(self._longest, self._min_life * 2.0 ** min(self.short_lives - 2, 32))
        return max(0.0, gap - lived)

    def reset(self) -> None:
        """The next death counts as the first: the process was ended on purpose."""
        self.short_lives = 0
