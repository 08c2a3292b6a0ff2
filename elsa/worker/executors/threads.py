"""Runs sync handlers in a pool of threads, one pool per handler."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from elsa.worker.executors import settle

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.worker.partition import PartitionWorker

#: A lane that waited this long while a thread was free gets another thread. Handlers that never wait (their
#: slices take less) then share one thread: with more of them the interpreter's lock would be handed around,
#: and the group manager would wait for it behind all of them.
_PATIENCE = 0.002


class ThreadExecutor:
    """Up to `limit` threads that take lanes from one queue; threads are made when they are needed.

    `_lanes`, `_idle`, `_watching` and `_threads` are changed under `_lock`. A thread waits on `_wake`; one of the
    idle ones is the watcher: it waits with a short limit whenever lanes are queued behind busy threads, and takes
    the oldest when that has waited too long. Whoever takes a lane and leaves others sees to it that there is one.
    """

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = limit
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._lanes: deque[tuple[float, PartitionWorker]] = deque()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._watching = 0
        self._stopping = False

    def submit(self, worker: PartitionWorker) -> None:
        with self._lock:
            self._lanes.append((time.monotonic(), worker))
            self._call_somebody()

    def _call_somebody(self) -> None:
        """Have a free thread look at the queue, a new one when none is free (lock held)."""
        if self._idle:
            self._wake.notify()
        elif len(self._threads) < self._limit and not self._stopping:
            thread = threading.Thread(target=self._work, name=f"elsa-{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _next(self) -> PartitionWorker | None:
        """The lane that has waited longest; None at the end."""
        with self._lock:
            self._idle += 1
            lane = self._wait_for_lane()
            self._idle -= 1
            if self._lanes and not self._watching:
                self._call_somebody()
            return lane

    def _wait_for_lane(self) -> PartitionWorker | None:
        while not self._stopping or self._lanes:
            if not self._lanes:
                self._wake.wait()
                continue
            busy = len(self._threads) - self._idle
            age = time.monotonic() - self._lanes[0][0]
            if busy == 0 or age >= _PATIENCE or self._stopping:
                return self._lanes.popleft()[1]
            self._watching += 1
            self._wake.wait(_PATIENCE - age)
            self._watching -= 1
        return None

    def _work(self) -> None:
        while (worker := self._next()) is not None:
            run_lane(worker, self.submit)

    def stop(self, timeout: float) -> bool:
        with self._lock:
            self._stopping = True
            self._wake.notify_all()
            threads = list(self._threads)
        end = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)


def run_lane(worker: PartitionWorker, again: Callable[[PartitionWorker], None]) -> None:
    """One slice of a lane in this thread; `again(worker)` queues it behind the others if there is more."""
    result = None
    try:
        step = worker.lifecycle()
        if step is not None:
            step()
        raws = worker.take()
        result = worker.run(raws) if raws else None
    except BaseException as error:
        worker.crashed(error)
    if settle(worker, result):
        again(worker)
