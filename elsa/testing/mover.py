"""Lets delayed messages go by the harness's clock: what the mover of a worker process does, over topics in memory."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

from elsa import headers as names
from elsa.delays.topics import delay_topics
from elsa.names import cancelled_topic
from elsa.policies import delay

if TYPE_CHECKING:
    from elsa.app import App
    from elsa.clock import Clock
    from elsa.testing.log import MemoryLog

#: headers have milliseconds, rounded up: a test that advances by the very delay is not to miss it
_ROUNDED_SECONDS = 0.001


class MemoryMover:
    """A delayed message goes straight from its first delay topic to its target, when it is due."""

    def __init__(self, app: App, clock: Clock, log: MemoryLog) -> None:
        self._app = app
        self._clock = clock
        self._log = log
        self._topics = delay_topics(app.name)
        self._seen = 0
        self._waiting: list[tuple[float, int, Any]] = []

    @property
    def next_due(self) -> float | None:
        """When the next message is due (monotonic), None when none waits."""
        self._look()
        if not self._waiting:
            return None
        return self._clock.monotonic() + max(0.0, self._waiting[0][0] - self._clock.now())

    def fire(self) -> bool:
        """Let go what is due; whether anything was."""
        self._look()
        found = False
        while self._waiting and self._waiting[0][0] <= self._clock.now():
            due, _, raw = heapq.heappop(self._waiting)
            if not self._is_cancelled(raw):
                hop = delay.next_hop(raw.headers() or (), now=due + _ROUNDED_SECONDS, app=self._app.name)
                assert hop is not None
                partition = -1 if hop.partition is None else hop.partition
                self._log.append(hop.topic, raw.value(), raw.key(), partition, 0, hop.headers)
            found = True
        return found

    def _look(self) -> None:
        for topic in self._topics:
            for raw in self._log.messages(topic):
                due = delay.due_at(raw.headers())
                if raw.sequence >= self._seen and due is not None:
                    heapq.heappush(self._waiting, (due - _ROUNDED_SECONDS, raw.sequence, raw))
        self._seen = self._log.written

    def _is_cancelled(self, raw: Any) -> bool:
        wanted = names.text(raw.headers(), names.ID)
        if wanted is None:
            return False
        cancelled = self._log.messages(cancelled_topic(self._app.name))
        return any((one.key() or b"").decode(errors="replace") == wanted for one in cancelled)
