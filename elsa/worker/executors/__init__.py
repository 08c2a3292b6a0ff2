"""Where handlers' code runs: one small seam (`Executor.submit(worker)`), threads and the event loop behind it.

`submit` is called with a lane that has something to run, by any thread, and never blocks. The executor then
takes messages from it, runs them, and settles them, until the lane says that it is done for now.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from elsa.config import Settings
    from elsa.handlers import Handler
    from elsa.worker.delivery import SliceResult
    from elsa.worker.partition import PartitionWorker

DEFAULT_THREADS = 8
DEFAULT_TASKS = 100


class Executor(Protocol):
    """Runs lanes."""

    def submit(self, worker: PartitionWorker) -> None:
        """Run this lane soon."""
        ...

    def stop(self, timeout: float) -> bool:
        """End when nothing runs any more; False when something still ran after `timeout` seconds."""
        ...


def settle(worker: PartitionWorker, result: SliceResult | None) -> bool:
    """Settle a slice; whether the lane is to run again. What fails here must end no thread and hold no lane."""
    try:
        return worker.settle(result)
    except Exception as error:  # border: the lane starts anew at its last unfinished message
        worker.crashed(error)
        return worker.settle(None)


class Executors:
    """The executors of one process: a pool of threads per sync handler, one event loop for all async ones.

    Pools are per handler, so that a handler which blocks all of its threads never takes another's.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._made: dict[str, Executor] = {}
        self._loop: Any = None

    def of(self, handler: Handler[Any, Any]) -> Executor:
        """The executor of a handler, made at its first use."""
        found = self._made.get(handler.name)
        if found is None:
            with self._lock:
                found = self._made.get(handler.name)
                if found is None:
                    found = self._made[handler.name] = self._make(handler)
        return found

    def concurrency(self, handler: Handler[Any, Any]) -> int:
        """How many messages of a handler may be in progress in this process."""
        default = DEFAULT_TASKS if handler.is_async else DEFAULT_THREADS
        return handler.declared.concurrency or self._settings.concurrency or default

    def _make(self, handler: Handler[Any, Any]) -> Executor:
        limit = self.concurrency(handler)
        if not handler.is_async:
            from elsa.worker.executors.threads import ThreadExecutor  # noqa: PLC0415 - only what is used is loaded

            return ThreadExecutor(handler.name, limit)
        from elsa.worker.executors.loop import EventLoop, LoopExecutor  # noqa: PLC0415 - asyncio costs start-up time

        if self._loop is None:
            self._loop = EventLoop()
        return LoopExecutor(self._loop, limit)

    def stop(self, timeout: float) -> bool:
        """End all of them; False when something still ran."""
        with self._lock:
            ended = [executor.stop(timeout) for executor in self._made.values()]
            if self._loop is not None:
                ended.append(self._loop.stop(timeout))
        return all(ended)
