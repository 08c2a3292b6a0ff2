"""The broker's clock, as seen from here: delay topics are stamped by the broker, so the mover waits by its time."""

from __future__ import annotations

import statistics
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from elsa.clock import Clock

#: measurements that are kept; the middle one counts, so that a slow answer changes nothing
KEPT = 9


class BrokerClock:
    """This machine's clock, set by the stamps that the broker has put on messages sent from here."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._differences: deque[float] = deque(maxlen=KEPT)
        self._difference = 0.0

    def now(self) -> float:
        """Seconds of the epoch."""
        return self._clock.now() + self._difference

    def learn(self, sent: float, confirmed: float, stamped: float) -> None:
        """A message sent at one time of this machine and confirmed at another was stamped in between."""
        self._differences.append(stamped - (sent + confirmed) / 2)
        self._difference = statistics.median(self._differences)
