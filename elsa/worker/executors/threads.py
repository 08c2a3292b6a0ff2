"""Runs sync handlers in a pool of threads."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Protocol

from elsa.worker import delivery
from elsa.worker.executors import settle
from elsa.worker.executors.ring import Ring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.worker.executors import Executor
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn

#: Calls of less than this never wait for anything, so one thread is enough for them: with more the interpreter's lock
#: would be handed around, and the group manager would wait for it behind all of them.
_QUICK_SECONDS = 0.0001
#: a call that takes this long, however quick the others have been, waits: its thread does not count
_PATIENCE = 0.002
#: how much of what is known of the calls' duration is kept at each turn
_MEMORY = 0.9


class Runner(Protocol):
    """Runs turns in the thread that made it."""

    def run(self, turn: Turn) -> None: ...

    def close(self) -> None: ...


class InThread:
    """Handlers run in the pool's own threads."""

    def run(self, turn: Turn) -> None:
        delivery.drive(turn.worker.run(turn))

    def close(self) -> None:
        """Nothing is kept between turns."""


class ThreadExecutor:
    """Up to `limit` threads that take workers from one ring; threads are made when they are needed.

    As long as calls are quick, one thread runs them all; one that is stuck in a call does not count.

    Everything here is changed under `_lock`, which is never held while a worker is called. A thread waits on `_wake`;
    one of the idle ones is the watcher: it waits with a short limit whenever workers are queued behind a busy thread,
    and takes the next when that one is stuck. Whoever takes a worker and leaves others sees to it that there is a
    watcher.
    """

    def __init__(
        self,
        name: str,
        limit: int,
        *,
        weights: Mapping[str, float] | None = None,
        make_runner: Callable[[], Runner] = InThread,
    ) -> None:
        self._name = name
        self.limit = limit
        self._make_runner = make_runner
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._ring = Ring(weights)
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._watching = 0
        self._stopping = False
        self._is_starting = False
        self._turns: set[Turn] = set()
        #: of the last turns: seconds in calls, and calls
        self._seconds = 0.0
        self._calls = 0.0

    @property
    def is_wanted(self) -> bool:
        return bool(self._ring)

    def submit(self, worker: PartitionWorker) -> None:
        with self._lock:
            if self._ring.push(worker, time.monotonic()):
                self._call_somebody()

    def _call_somebody(self) -> None:
        """Have a free thread look at the ring, a new one when none is free (lock held)."""
        if self._idle:
            self._wake.notify()
        elif len(self._threads) < self.limit and not self._is_starting and not self._stopping:
            thread = threading.Thread(target=self._work, name=f"elsa-{self._name}-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            # it will look at the ring itself, and call the next one
            self._is_starting = True
            try:
                thread.start()
            except RuntimeError:
                # the system has no more threads: those that are there will do
                self._is_starting = False
                self._threads.remove(thread)
                if not self._threads:
                    raise

    def _next(self) -> PartitionWorker | None:
        """The worker whose turn it is; None at the end."""
        with self._lock:
            self._is_starting = False
            self._idle += 1
            worker = self._wait_for_worker()
            self._idle -= 1
            if self._ring and not self._watching:
                self._call_somebody()
            return worker

    def _wait_for_worker(self) -> PartitionWorker | None:
        while not self._stopping or self._ring:
            if not self._ring:
                self._wake.wait()
                continue
            if self._stopping or self._may_take():
                return self._ring.pop()
            self._watching += 1
            self._wake.wait(_PATIENCE)
            self._watching -= 1
        return None

    def _may_take(self) -> bool:
        """Whether one more thread is of use (lock held)."""
        if self._seconds >= _QUICK_SECONDS * self._calls and self._calls:
            return True
        stuck = time.perf_counter() - _PATIENCE
        return len(self._threads) - self._idle <= sum(turn.since < stuck for turn in self._turns)

    def _work(self) -> None:
        runner = self._make_runner()
        try:
            while (worker := self._next()) is not None:
                turn = begin(worker, self)
                if turn is None:
                    continue
                if worker.is_ready(self):
                    # more threads may work on it meanwhile
                    self.submit(worker)
                self._begun(turn)
                again = run_turn(turn, runner)
                self._ended(turn)
                if again:
                    self.submit(worker)
        finally:
            runner.close()

    def _begun(self, turn: Turn) -> None:
        with self._lock:
            self._turns.add(turn)

    def _ended(self, turn: Turn) -> None:
        with self._lock:
            self._turns.discard(turn)
            self._seconds = _MEMORY * self._seconds + sum(turn.durations)
            self._calls = _MEMORY * self._calls + len(turn.durations)

    def stop(self, timeout: float) -> bool:
        with self._lock:
            self._stopping = True
            self._wake.notify_all()
            threads = list(self._threads)
        end = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)


def begin(worker: PartitionWorker, executor: Executor) -> Turn | None:
    """The next turn of a worker. What fails here must end no thread: the worker starts anew."""
    try:
        return worker.begin(executor)
    except Exception as error:  # border: as in settle
        worker.crashed(error)
        return None


def run_turn(turn: Turn, runner: Runner) -> bool:
    """One turn in this thread; whether the worker is to come again."""
    try:
        runner.run(turn)
    except BaseException as error:
        turn.worker.crashed(error, turn)
    return settle(turn)
