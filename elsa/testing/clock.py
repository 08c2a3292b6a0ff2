"""A clock that only tests move; the harness gives it to the engine in place of the machine's."""

from __future__ import annotations

from datetime import datetime

from elsa.clock import SYSTEM


class FakeClock:
    """Stands still until `advance`; wall clock and monotonic clock move together.

    Begins at `now` (seconds since the epoch, or a datetime with a time zone), by default at the real time.
    The monotonic clock begins at the real one, so that `ctx.deadline` can be compared with `time.monotonic()`.

    >>> clock = FakeClock(1000)
    >>> clock.advance(2.5)
    >>> clock.now()
    1002.5
    """

    def __init__(self, now: float | datetime | None = None) -> None:
        if isinstance(now, datetime):
            if now.tzinfo is None:
                raise ValueError(f"{now!r} has no time zone: add tzinfo=datetime.UTC, for example")
            now = now.timestamp()
        self._now = SYSTEM.now() if now is None else float(now)
        self._monotonic = SYSTEM.monotonic()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks on; raises ValueError for a step back."""
        if seconds < 0:
            raise ValueError(f"time does not go back: advance({seconds:g})")
        self._now += seconds
        self._monotonic += seconds
