"""What the mover has fetched of one partition of a delay topic: a few of the next messages, never many."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

#: fetching stops above so many messages, and goes on below a quarter
MOST_MESSAGES = 2_000
#: the same in bytes, for all shelves of a mover together
MOST_BYTES = 32 * 1024 * 1024
#: what a message takes beside its value
OVERHEAD_BYTES = 500
#: a head that is due later than this need not be kept: what comes behind it is due later still
FAR_SECONDS = 5.0


class Shelf:
    """One partition; owned by the mover's thread. Times are seconds of the broker's clock.

    Messages come in the order of their offsets and go in that order. Where the first one is due much later nothing is
    kept but its place (`park`), and fetching begins there again in time.
    """

    def __init__(self, seconds: int, base: int | None) -> None:
        self._seconds = seconds
        #: (due, message)
        self._waiting: deque[tuple[float, Any]] = deque()
        #: one past the last message that came
        self._next = base if base is not None else 0
        #: the next offset that is not moved yet, as far as it is known
        self.base = base
        self.size = 0
        self.is_paused = False
        #: offset and due time of the first message, while it is left in the log
        self.parked: tuple[int, float] | None = None
        #: the offset that has to come next, after a parked shelf was asked for again
        self._awaited: int | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, raws: Sequence[Any]) -> bool:
        """Fetched messages, ascending; False when there is one missing that is known to have been in the log."""
        for raw in raws:
            offset = raw.offset()
            if offset < self._next or self.parked is not None:
                continue  # fetched twice
            if self._awaited is not None:
                if offset != self._awaited:
                    return False
                self._awaited = None
            self._next = offset + 1
            self._waiting.append((self._due(raw), raw))
            self.size += _size(raw)
        return True

    @property
    def due(self) -> float | None:
        """When the first message may go; None without one."""
        if self._waiting:
            return self._waiting[0][0]
        return self.parked[1] if self.parked is not None else None

    def _due(self, raw: Any) -> float:
        kind, milliseconds = raw.timestamp()
        # without a stamp it has nothing to wait for here
        return float(milliseconds / 1000 + self._seconds) if kind else 0.0

    def first(self, now: float) -> Any:
        """The first message, if it is due."""
        return self._waiting[0][1] if self._waiting and self._waiting[0][0] <= now else None

    def count_due(self, now: float) -> int:
        """How many messages that are here are due."""
        count = 0
        for due, _ in self._waiting:
            if due > now:
                break
            count += 1
        return count

    def take(self, now: float, most: int, stops: Collection[int] = ()) -> list[Any]:
        """Messages that are due, at most so many, none from the first offset in `stops` on.

        They are gone from here until `give_back`.
        """
        found: list[Any] = []
        waiting = self._waiting
        while waiting and len(found) < most and waiting[0][0] <= now:
            if stops and waiting[0][1].offset() in stops:
                break
            raw = waiting.popleft()[1]
            self.size -= _size(raw)
            found.append(raw)
        return found

    def give_back(self, raws: Sequence[Any]) -> None:
        """These were not moved after all."""
        self._waiting.extendleft((self._due(raw), raw) for raw in reversed(raws))
        self.size += sum(map(_size, raws))

    # -- what need not be kept ----------------------------------------------------------------------------

    def is_far(self, now: float) -> bool:
        """Whether nothing of this is due soon."""
        due = self.due
        return due is not None and due - now > FAR_SECONDS

    def is_full(self, share: int) -> bool:
        """Whether nothing more is to be fetched for now, with so many bytes to be kept here."""
        part = 4 if self.is_paused else 1
        return len(self) >= MOST_MESSAGES // part or self.size >= share // part

    def park(self) -> None:
        """Keep the place of the first message, and nothing else."""
        due, raw = self._waiting[0]
        self.parked = (raw.offset(), due)
        self._waiting.clear()
        self.size = 0

    def wake(self) -> int:
        """Where to fetch from again."""
        assert self.parked is not None
        self._next = self._awaited = self.parked[0]
        self.parked = None
        return self._next

    def skip(self) -> None:
        """The message that had to come is not in the log any more: go on with what there is."""
        self._awaited = None

    @property
    def awaited(self) -> int | None:
        """The offset that has to come next, if that is known."""
        return self._awaited


def _size(raw: Any) -> int:
    return len(raw) + OVERHEAD_BYTES
