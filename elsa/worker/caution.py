"""One message at a time in the whole process while some are suspected of killing it: the next death has one cause.

Shared by all partition workers of a process. Workers call `enter` and `leave` with their own lock held, so nothing here
takes another one of theirs, and `submit` of an executor is the only call out.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from collections.abc import Set as AbstractSet

    from elsa.worker.executors import Executor
    from elsa.worker.journal import Journal
    from elsa.worker.partition import PartitionWorker

#: so often may a process die while a message is handled before the message is given up
MOST_DEATHS = 3
#: from so many deaths on a message is a suspect, and runs alone
SUSPECT_DEATHS = MOST_DEATHS - 1


class Caution:
    """Off while there are no suspects: then `is_on` is all that anybody looks at."""

    def __init__(self) -> None:
        self.is_on = False
        #: where turns are noted, if anywhere
        self.journal: Journal | None = None
        self._lock = threading.Lock()
        self._workers: weakref.WeakSet[PartitionWorker] = weakref.WeakSet()
        self._suspects: dict[PartitionWorker, set[int]] = {}
        #: those that cannot run for now, and keep nobody waiting: of workers that an operator has paused, and those
        #: that wait for a time with their lanes
        self._paused: set[PartitionWorker] = set()
        self._resting: dict[PartitionWorker, set[int]] = {}
        #: who has been let in
        self._alone: PartitionWorker | None = None
        self._waiting: deque[tuple[PartitionWorker, Executor]] = deque()

    def expect(self, worker: PartitionWorker, offsets: Iterable[int]) -> None:
        """These messages of a worker that is about to begin are suspects."""
        found = set(offsets)
        if found:
            with self._lock:
                self._suspects[worker] = found
                self.is_on = True

    @property
    def has_suspects(self) -> bool:
        """Whether there are any, also such as cannot run for now."""
        return bool(self._suspects)

    def join(self, worker: PartitionWorker) -> None:
        """One more worker in this process."""
        with self._lock:
            self._workers.add(worker)

    def enter(self, worker: PartitionWorker, executor: Executor) -> bool:
        """Whether a turn of one message may begin now; if not, the executor is told again when it may.

        Those that have no suspects wait until there are none.
        """
        with self._lock:
            if not self.is_on:
                return True
            is_free = self._alone is None and not any(other.underway.turns for other in self._workers)
            if self._has_runnable(worker) and is_free:
                # a turn is known as busy only a moment later
                self._alone = worker
                return True
            if (worker, executor) not in self._waiting:
                self._waiting.append((worker, executor))
            return False

    def leave(self, worker: PartitionWorker) -> None:
        """A worker that was let in has begun nothing."""
        if self.is_on:
            with self._lock:
                self._free(worker)
                self._go_on()

    def _free(self, worker: PartitionWorker) -> None:
        if self._alone is worker:
            self._alone = None

    def ran(self, worker: PartitionWorker, offsets: Iterable[int]) -> None:
        """A turn is over and the process still there: these messages are suspects no more."""
        with self._lock:
            self._free(worker)
            suspects = self._suspects.get(worker)
            if suspects is not None:
                suspects.difference_update(offsets)
                if not suspects:
                    del self._suspects[worker]
            self._go_on()

    def passed(self, worker: PartitionWorker, base: int) -> None:
        """Everything below `base` is over, whether or not it was ever in the log."""
        with self._lock:
            if any(offset < base for offset in self._suspects.get(worker, ())):
                self._suspects[worker] = {offset for offset in self._suspects[worker] if offset >= base}
                if not self._suspects[worker]:
                    del self._suspects[worker]
                self._go_on()

    def set_aside(self, worker: PartitionWorker) -> None:
        """An operator has paused a worker: its suspects do not run, and keep nobody waiting."""
        with self._lock:
            if worker in self._suspects:
                self._paused.add(worker)
                self._go_on()

    def take_back(self, worker: PartitionWorker) -> None:
        """It goes on: its suspects are waited for again."""
        with self._lock:
            if worker in self._paused:
                self._paused.discard(worker)
                self._go_on()

    def rest(self, worker: PartitionWorker, waiting: Callable[[AbstractSet[int]], set[int]]) -> None:
        """Lanes of a worker wait for a time, or go on; `waiting` says which of its suspects wait with them."""
        with self._lock:
            suspects = self._suspects.get(worker)
            if suspects is None:
                return
            resting = waiting(suspects)
            if resting != self._resting.get(worker, set()):
                self._resting[worker] = resting
                self._go_on()

    def forget(self, worker: PartitionWorker) -> None:
        """A worker has ended."""
        with self._lock:
            self._free(worker)
            self._paused.discard(worker)
            self._resting.pop(worker, None)
            self._suspects.pop(worker, None)
            self._go_on()

    def _has_runnable(self, worker: PartitionWorker) -> bool:
        """Whether it has a suspect that is waited for (lock held)."""
        return worker not in self._paused and bool(self._suspects.get(worker, set()) - self._resting.get(worker, set()))

    def _go_on(self) -> None:
        """Whoever waits looks again (lock held)."""
        self.is_on = any(map(self._has_runnable, self._suspects))
        waiting, self._waiting = self._waiting, deque()
        for worker, executor in waiting:
            executor.submit(worker)
