"""Topics that the brokers do not let a group manager read, until they do again; told by its client, asked by readiness.

The client says once that a topic is refused, and nothing when that is over and no message waits. So the watcher asks
the brokers which of them may be read by now.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from elsa.clock import Clock

#: A refusal stands at least so long: the brokers hear of a change one after the other, and another one may be asked.
STANDING_SECONDS = 3.0


class Refusal(NamedTuple):
    """Since when (monotonic), when it was told last, and what is missing."""

    since: float
    told_at: float
    text: str


class Refusals:
    """Of one group manager; for any thread. `now` is replaced as a whole."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        #: by topic
        self.now: Mapping[str, Refusal] = {}

    def add(self, topic: str, text: str) -> None:
        """The client was refused this topic."""
        at = self._clock.monotonic()
        with self._lock:
            before = self.now.get(topic)
            self.now = {**self.now, topic: Refusal(before.since if before else at, at, text)}

    def standing(self) -> set[str]:
        """Those that it makes sense to ask for."""
        end = self._clock.monotonic() - STANDING_SECONDS
        return {topic for topic, refusal in self.now.items() if refusal.told_at <= end}

    def lift(self, topics: Collection[str], asked_at: float) -> None:
        """These may be read, as asked at `asked_at` (monotonic); what was refused shortly before, or since, stays."""
        end = asked_at - STANDING_SECONDS
        with self._lock:
            self.now = {
                topic: refusal for topic, refusal in self.now.items() if topic not in topics or refusal.told_at > end
            }
