"""Which offset of one partition may be committed: the tracker, owned by the group manager's thread."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Tracker:
    """The delivered offsets of one assignment of one partition, and which of them are finished.

    Owned by the group manager's thread, no lock. `base` is the next offset to commit: the lowest
    unfinished of those *delivered*, or one past the last delivered when all are finished. Offsets that the
    log does not have (compaction, transaction markers) never enter, so they never hold it back.
    Every operation is O(1) amortised per offset.
    """

    __slots__ = ("_acknowledged", "_finished", "_held", "_pending", "base", "last", "passed", "unfinished")

    def __init__(self, base: int) -> None:
        self.base = base
        #: the last delivered offset
        self.last = base - 1
        #: delivered and neither finished nor held: what counts against `max_in_flight`
        self.unfinished = 0
        #: how many messages `base` has passed: what a commit would make safe
        self.passed = 0
        self._pending: deque[int] = deque()
        self._finished: set[int] = set()
        self._held: set[int] = set()
        #: the highest offset that a handler was done with: what was given up finishes nothing below it
        self._acknowledged = -1

    def deliver(self, offsets: Sequence[int]) -> None:
        """Offsets are handed to the partition worker, ascending and above everything delivered before."""
        self._pending.extend(offsets)
        self.unfinished += len(offsets)
        self.last = offsets[-1]
        self.base = self._pending[0]

    def finish(self, offsets: Sequence[int], *, acknowledges: bool = True) -> None:
        """Delivered offsets are done, in any order; an offset below `base` is ignored.

        Held offsets below them are done as well, unless these were given up (`acknowledges=False`): a dead letter
        is no word of the handler that what it has held back is safe.
        """
        pending, finished = self._pending, self._finished
        if acknowledges:
            self._acknowledged = max(self._acknowledged, *offsets)
        if acknowledges and self._held:
            highest = max(offsets)
            released = [offset for offset in self._held if offset < highest]
            self._held.difference_update(released)
            # they left `unfinished` when they were held
            self.unfinished += len(released)
            offsets = [*released, *offsets]
        for offset in offsets:
            if pending and pending[0] == offset:
                pending.popleft()
                self.passed += 1
                self.base = offset + 1
                self.unfinished -= 1
                while finished and pending and pending[0] in finished:
                    self.base = pending.popleft() + 1
                    finished.remove(self.base - 1)
                    self.passed += 1
            elif offset >= self.base and offset not in finished:
                finished.add(offset)
                self.unfinished -= 1
        while pending and pending[0] in finished:
            finished.remove(pending.popleft())
            self.passed += 1
        self.base = pending[0] if pending else self.last + 1

    def hold(self, offsets: Sequence[int]) -> None:
        """Offsets are neither finished nor in hand: the next acknowledged offset above them finishes them."""
        self._held.update(offsets)
        self.unfinished -= len(offsets)
        # one above was faster (its sends were confirmed sooner)
        passed = [offset for offset in offsets if offset < self._acknowledged]
        if passed:
            self._held.difference_update(passed)
            self.unfinished += len(passed)
            self.finish(passed)

    def reach_end(self, offset: int) -> bool:
        """The log ends at `offset`; True when nothing is pending, so that everything below it counts as done.

        The end lies past transaction markers and compacted tails, which are never delivered: without it the
        lag would stay above 0 for ever.
        """
        if self._pending:
            return False
        if offset > self.base:
            self.base = offset
            self.last = offset - 1
        return True
