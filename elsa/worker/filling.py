"""How long a batch that is not full waits for more messages; the worker's lock guards it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elsa.clock import Clock


class Filling:
    """Batches of `size`, at most `wait` seconds after their first message."""

    def __init__(self, size: int, wait: float, clock: Clock) -> None:
        self.size = size
        self._wait = wait
        self._clock = clock
        #: until when a batch may fill up, None when none does
        self.until: float | None = None
        self._is_over = False

    def waits(self, queued: int, *, at_once: bool) -> bool:
        """Whether what is queued waits for more; begins to wait at the first time."""
        is_over, self._is_over = self._is_over, False
        if is_over or at_once or queued >= self.size or self._wait == 0:
            return False
        if self.until is None:
            self.until = self._clock.monotonic() + self._wait
        return True

    def holds(self, queued: int) -> bool:
        """Whether a batch that has begun to wait need not be looked at yet."""
        if self.until is None:
            return False
        if not self._is_over and queued < self.size:
            return True
        self.until = None
        return False

    def end(self, now: float) -> None:
        """Time has passed."""
        if self.until is not None and now >= self.until:
            self.until = None
            self._is_over = True

    def skip(self) -> None:
        """Messages that have waited already come again: nothing waits for more with them."""
        self._is_over = True
