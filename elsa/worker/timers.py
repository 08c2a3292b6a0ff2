"""What a group manager has to do at a time of the monotonic clock; owned by its thread."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.worker.partition import PartitionWorker

#: timers of workers that have ended are looked for when there are so many more than needed
_SLACK = 100


class Timers:
    """Calls by time, those of one time in the order of their making."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[float], None], PartitionWorker | None]] = []
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._heap)

    def at(self, due: float, run: Callable[[float], None], worker: PartitionWorker | None = None) -> None:
        """Call `run(now)` then, if `worker` lives until then."""
        heapq.heappush(self._heap, (due, next(self._numbers), run, worker))

    @property
    def next(self) -> float | None:
        """When the next is due."""
        return self._heap[0][0] if self._heap else None

    def fire(self, now: float) -> None:
        """Call what is due."""
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2](now)

    def unpark_at(self, due: float, worker: PartitionWorker) -> None:
        """Call the worker's `unpark` then, and as often again as it asks for."""

        def unpark(now: float) -> None:
            again = worker.unpark(now)
            if again is not None:
                self.unpark_at(again, worker)

        self.at(due, unpark, worker)

    def prune(self, needed: int) -> None:
        """Forget those of workers that have ended, when there are many more than `needed`."""
        if len(self._heap) > needed + _SLACK:
            self._heap = [one for one in self._heap if one[3] is None or not one[3].closed]
            heapq.heapify(self._heap)

    def clear(self) -> None:
        self._heap.clear()
