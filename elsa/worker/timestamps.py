"""How old the oldest unfinished message of one partition is: timestamps of what was received, few for many messages.

Owned by the partition's `Assigned`, so by the group manager's thread.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from elsa.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.worker.offsets import Tracker

#: ages that differ by less than this, or by this part of them, count as one: each message's own is not kept
_AGE_SECONDS, _AGE_SHARE = 1.0, 0.01
#: timestamps of so many received slices are kept beyond those that have something unfinished
SLACK = 100


class Timestamps:
    """Of what was received and is not finished, in pieces of one age."""

    __slots__ = ("_pieces",)

    def __init__(self) -> None:
        #: (last offset, timestamp of the first message)
        self._pieces: deque[tuple[int, float | None]] = deque()

    def __len__(self) -> int:
        return len(self._pieces)

    @property
    def oldest(self) -> float | None:
        """Seconds since the epoch; None when nothing is unfinished, or it has no timestamp."""
        return self._pieces[0][1] if self._pieces else None

    def came(self, raws: Sequence[Any]) -> None:
        """A slice came, in the order of its partition."""
        (kind, first), (_, last) = raws[0].timestamp(), raws[-1].timestamp()
        if not kind:
            self._pieces.append((raws[-1].offset(), None))
            return
        grain = 1000 * max(_AGE_SECONDS, _AGE_SHARE * (SYSTEM.now() - first / 1000))
        if abs(last - first) < grain:
            self._pieces.append((raws[-1].offset(), first / 1000))
            return
        before = raws[0].offset()
        for raw in raws:
            moment = raw.timestamp()[1]
            if abs(moment - first) >= grain:
                self._pieces.append((before, first / 1000))
                first = moment
            before = raw.offset()
        self._pieces.append((before, first / 1000))

    def forget(self, tracker: Tracker, unfinished: int) -> None:
        """Messages are over: the tracker says which are not, and `unfinished` how many those are."""
        base, pieces = tracker.base, self._pieces
        while pieces and pieces[0][0] < base:
            pieces.popleft()
        if len(pieces) > unfinished + SLACK:
            self._thin_out(tracker)

    def _thin_out(self, tracker: Tracker) -> None:
        """Behind a slow head slices go by: only the head's age, and those of what is not finished, will be asked."""
        unfinished = tracker.missing(tracker.last + 1)
        kept: deque[tuple[int, float | None]] = deque()
        at = 0
        for last, timestamp in self._pieces:
            begin = at
            while at < len(unfinished) and unfinished[at] <= last:
                at += 1
            if at > begin or last > tracker.last:
                kept.append((last, timestamp))
        self._pieces = kept

    def clear(self) -> None:
        """What is in hand is fetched again."""
        self._pieces.clear()
