"""Which offset of one partition may be committed: the tracker, owned by the group manager's thread."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

#: how much the deque of a tracker may hold beyond what is unfinished before it is made anew
_SLACK = 1_000


class Tracker:
    """The delivered offsets of one assignment of one partition, and which of them are finished.

    Owned by the group manager's thread, no lock. `base` is the next offset to commit: the lowest unfinished of those
    *delivered*, or one past the last delivered when all are finished. Offsets that the log does not have (compaction,
    transaction markers) never enter, so they never hold it back. Finished offsets above `base` are not kept: they are
    all those up to `highest` that are not unfinished. Every operation is O(1) amortised per offset, and what is held
    in memory is bounded by what is unfinished, however long the lowest one takes.
    """

    __slots__ = ("_acknowledged", "_held", "_open", "_order", "base", "finished", "highest", "last", "version")

    def __init__(self, base: int, *, version: int = 0) -> None:
        self.base = base
        #: the last delivered offset
        self.last = base - 1
        #: the highest finished offset
        self.highest = base - 1
        #: how many messages were finished: what commits have made, or would make, safe
        self.finished = 0
        #: grows with everything that a commit would write
        self.version = version
        #: not finished, also when held
        self._open: set[int] = set()
        #: the same ascending, and some that have been finished since
        self._order: deque[int] = deque()
        self._held: set[int] = set()
        #: the highest offset that a handler was done with: what was given up finishes nothing below it
        self._acknowledged = -1

    @property
    def unfinished(self) -> int:
        """Delivered and neither finished nor held: what counts against `max_in_flight`."""
        return len(self._open) - len(self._held)

    @property
    def is_idle(self) -> bool:
        """Whether nothing that was delivered is open, held offsets included."""
        return not self._open

    def deliver(self, offsets: Sequence[int]) -> None:
        """Offsets are handed to the partition worker, ascending and above everything delivered before."""
        if not self._open:
            self.base = offsets[0]
        self._order.extend(offsets)
        self._open.update(offsets)
        self.last = offsets[-1]

    def finish(self, offsets: Sequence[int], *, acknowledges: bool = True) -> int:
        """Delivered offsets are done, in any order; how many of them are news.

        Held offsets below them are done as well, unless these were given up (`acknowledges=False`): a dead letter
        is no word of the handler that what it has held back is safe.
        """
        if acknowledges:
            self._acknowledged = max(self._acknowledged, *offsets)
            if self._held:
                highest = max(offsets)
                released = [offset for offset in self._held if offset < highest]
                self._held.difference_update(released)
                offsets = [*released, *offsets]
        news = self._open.intersection(offsets)
        if news:
            self._open -= news
            self.finished += len(news)
            self.version += 1
            self.highest = max(self.highest, *news)
            self._advance()
        return len(news)

    def _advance(self) -> None:
        order, unfinished = self._order, self._open
        while order and order[0] not in unfinished:
            order.popleft()
        self.base = order[0] if order else self.last + 1
        if len(order) > 2 * len(unfinished) + _SLACK:
            # a slow head: what is finished behind it need not be remembered one by one
            self._order = deque(offset for offset in order if offset in unfinished)

    def hold(self, offsets: Sequence[int]) -> None:
        """Offsets are neither finished nor in hand: the next acknowledged offset above them finishes them."""
        self._held.update(offset for offset in offsets if offset in self._open)
        # one above was faster (its sends were confirmed sooner)
        passed = [offset for offset in offsets if offset < self._acknowledged and offset in self._held]
        if passed:
            self._held.difference_update(passed)
            self.finish(passed)

    def missing(self, below: int) -> list[int]:
        """The unfinished offsets below one, ascending."""
        unfinished = self._open
        return [offset for offset in self._order if offset < below and offset in unfinished]

    def reach_end(self, offset: int) -> bool:
        """The log ends at `offset`; True when nothing is open, so that everything below it counts as done.

        The end lies past transaction markers and compacted tails, which are never delivered: without it the
        lag would stay above 0 for ever.
        """
        if self._open:
            return False
        if offset > self.base:
            self.base = offset
            self.last = offset - 1
            self.version += 1
        return True
