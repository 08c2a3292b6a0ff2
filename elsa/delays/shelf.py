"""What the mover has fetched of one partition of a delay topic: a few of the next messages, never many."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: fetching stops above so many messages or bytes, and goes on below a quarter
MOST_MESSAGES = 500
MOST_BYTES = 4 * 1024 * 1024
#: a head that is due later than this need not be fetched from now on: what comes behind it is due later still
FAR_SECONDS = 5.0


class Shelf:
    """One partition; owned by the mover's thread. Times are seconds of the broker's clock."""

    def __init__(self, seconds: int, base: int) -> None:
        self._seconds = seconds
        self._waiting: deque[Any] = deque()
        self._size = 0
        #: the next offset that is not moved yet
        self.base = base
        self.is_paused = False

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, raws: Sequence[Any]) -> None:
        """Fetched messages, ascending."""
        self._waiting.extend(raws)
        self._size += sum(map(len, raws))

    @property
    def due(self) -> float | None:
        """When the first message may go; None without one."""
        return self._due(self._waiting[0]) if self._waiting else None

    def _due(self, raw: Any) -> float:
        kind, milliseconds = raw.timestamp()
        # without a stamp it has nothing to wait for here
        return float(milliseconds / 1000 + self._seconds) if kind else 0.0

    def take(self, now: float, most: int) -> list[Any]:
        """Messages that are due, at most so many; they are gone from here until `give_back`."""
        found: list[Any] = []
        waiting = self._waiting
        while waiting and len(found) < most and self._due(waiting[0]) <= now:
            raw = waiting.popleft()
            self._size -= len(raw)
            found.append(raw)
        return found

    def give_back(self, raws: Sequence[Any]) -> None:
        """These were not moved after all."""
        self._waiting.extendleft(reversed(raws))
        self._size += sum(map(len, raws))

    def wants_pause(self, now: float) -> bool:
        """Whether nothing more is to be fetched for now; a function of what is here."""
        due = self.due
        if due is None:
            return False
        if due - now > FAR_SECONDS:
            return True
        share = 4 if self.is_paused else 1
        return len(self) >= MOST_MESSAGES // share or self._size >= MOST_BYTES // share
