"""Who runs next in an executor: partition workers that have something to run, shared out fairly; no lock of its own.

Called by one executor, which holds its lock (or is on its loop) around every call.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elsa.worker.partition import PartitionWorker


class _Class:
    """The workers of one topic that wait, longest waiting first."""

    __slots__ = ("share", "used", "waiting")

    def __init__(self, weight: float) -> None:
        self.share = 1.0 / weight
        #: what it has been given so far, in units of its share
        self.used = 0.0
        self.waiting: deque[tuple[PartitionWorker, float]] = deque()


class Ring:
    """Each worker at most once, first in first out; with `weights`, topics have their turns in that proportion.

    A topic that had nothing to run for a while is not owed the turns that it did not take. A topic without a weight
    has the weight 1.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        self._weights = weights or {}
        self._classes: dict[str, _Class] = {}
        self._members: set[PartitionWorker] = set()
        #: `used` of the class that was served last: where a class that comes back begins
        self._now = 0.0

    def __len__(self) -> int:
        return len(self._members)

    def push(self, worker: PartitionWorker, at: float) -> bool:
        """Let a worker wait since `at`; False when it waits already."""
        if worker in self._members:
            return False
        self._members.add(worker)
        name = worker.binding.topic if self._weights else ""
        found = self._classes.get(name)
        if found is None:
            found = self._classes[name] = _Class(self._weights.get(name, 1.0))
        if not found.waiting:
            found.used = max(found.used, self._now)
        found.waiting.append((worker, at))
        return True

    def _next(self) -> _Class:
        return min((one for one in self._classes.values() if one.waiting), key=lambda one: one.used)

    @property
    def since(self) -> float:
        """Since when the one that is next has waited."""
        return self._next().waiting[0][1]

    def pop(self) -> PartitionWorker:
        """Whose turn it is."""
        found = self._next()
        worker, _ = found.waiting.popleft()
        self._members.discard(worker)
        self._now = found.used
        found.used += found.share
        return worker
