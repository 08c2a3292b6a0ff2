"""Where the time of one group manager's thread goes, by state; told to the observer ten times a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from elsa.worker.assigned import Assigned

_counter = time.perf_counter


class Spending:
    """The thread is in one state at a time; nobody else calls this.

    >>> spending = Spending()
    >>> before = spending.enter("rebalance")
    >>> before, spending.enter(before)
    ('poll', 'rebalance')
    """

    __slots__ = ("_seconds", "_since", "_state")

    def __init__(self) -> None:
        self._state = "poll"
        self._since = _counter()
        self._seconds: dict[str, float] = {}

    def enter(self, state: str) -> str:
        """Be in this state from now on; the state before, to which a caller may go back."""
        now = _counter()
        before = self._state
        self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
        self._since, self._state = now, state
        return before

    def take(self) -> dict[str, float]:
        """Seconds by state since the last time."""
        self.enter(self._state)
        found, self._seconds = self._seconds, {}
        return found


def waits_for(busy: Iterable[Assigned], *, is_gated: bool, flows: bool) -> str:
    """What a manager waits for while nothing comes from Kafka: the state that this time counts for.

    `is_gated`: messages wait for room; without `flows` nothing runs before the next commit.
    """
    if not flows:
        return "commit"
    if is_gated:
        return "backpressure"
    has_parked = False
    for assigned in busy:
        is_parked = assigned.parked > 0
        has_parked = has_parked or is_parked
        # what is in hand may all wait behind a retry that is not due
        may_run = not is_parked or (assigned.worker is not None and bool(assigned.worker.underway.turns))
        if assigned.in_flight > 0 and assigned.held is None and not assigned.is_paused and may_run:
            return "handler"
    return "retry_wait" if has_parked else "idle"
