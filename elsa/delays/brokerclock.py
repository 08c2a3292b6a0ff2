"""The broker's clock, as seen from here: delay topics are stamped by the broker, so the mover waits by its time."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elsa.clock import Clock

#: how long a measurement counts: clocks that are corrected drift apart by 0.05 % at most, so by less than 0.1 s
KEPT_SECONDS = 180.0
#: stamps are whole milliseconds
GRAIN_SECONDS = 0.001
#: a step of this machine's clock, or a time in which it stood still
JUMP_SECONDS = 0.5


class BrokerClock:
    """The latest time that the broker's clock is known to have reached: never ahead of it, so nothing is early.

    A stamp that has been heard of is in the past. So each one bounds the difference between the broker's clock and
    this machine's monotonic clock from below, and the highest of these bounds counts. Clock steps of this machine
    change nothing; one of the broker is noticed by the next stamp. Belongs to one thread.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        #: (when it was heard of, bound), bounds descending: the first one counts
        self._bounds: deque[tuple[float, float]] = deque()
        self._apart = self._wall_apart()
        self._measured = -float("inf")

    @property
    def is_known(self) -> bool:
        """Whether there is any measurement; without one this machine's clock has to do."""
        return bool(self._bounds)

    @property
    def age(self) -> float:
        """Seconds since the last measurement; infinite without one, and after a jump."""
        if abs(self._wall_apart() - self._apart) > JUMP_SECONDS:
            return float("inf")
        return self._clock.monotonic() - self._measured

    def _wall_apart(self) -> float:
        return self._clock.now() - self._clock.monotonic()

    def now(self) -> float:
        """Seconds of the epoch."""
        return self._clock.monotonic() + self._bounds[0][1] if self._bounds else self._clock.now()

    def learn(self, stamped: float, heard: float, sent: float | None = None) -> None:
        """The broker has stamped something; `heard` and `sent` are monotonic seconds of this machine.

        Without `sent` it may be long ago.
        """
        bounds = self._bounds
        bound = stamped - heard
        if sent is not None:
            self._apart, self._measured = self._wall_apart(), heard
            # it cannot be more than that: what says so is older than a step back of the broker's clock
            while bounds and bounds[0][1] > stamped + GRAIN_SECONDS - sent:
                bounds.popleft()
        while bounds and bounds[-1][1] <= bound:
            bounds.pop()
        bounds.append((heard, bound))
        while bounds[0][0] < heard - KEPT_SECONDS:
            bounds.popleft()

    def assume(self) -> None:
        """The broker does not tell: take this machine's clock for right."""
        now = self._clock.monotonic()
        self.learn(self._clock.now(), now)
        self._apart, self._measured = self._wall_apart(), now
