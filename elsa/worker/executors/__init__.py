"""Where handlers' code runs: one small seam (`Executor.submit(worker)`), threads, event loop and processes behind it.

`submit` is called for a partition worker that has something to run, by any thread, and never blocks. The executor
then asks it for turns (`PartitionWorker.begin`), as many at once as it has places, runs them, and settles them,
until the worker says that it is done for now.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from elsa.config import Settings
    from elsa.handlers import Handler
    from elsa.registry import Binding
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn

DEFAULT_THREADS = 8
DEFAULT_TASKS = 100


class Executor(Protocol):
    """Runs partition workers."""

    #: how many calls run at once
    limit: int

    @property
    def is_wanted(self) -> bool:
        """Whether anybody waits for a place."""
        ...

    def submit(self, worker: PartitionWorker) -> None:
        """Run what this worker has, soon; one that waits already is not entered twice."""
        ...

    def stop(self, timeout: float) -> bool:
        """End when nothing runs any more; False when something still ran after `timeout` seconds."""
        ...


def settle(turn: Turn) -> bool:
    """Settle a turn; whether the worker is to run again. What fails here must end no thread and hold no lane."""
    try:
        return turn.worker.settle(turn)
    except Exception as error:  # border: the worker starts anew at its last unfinished message
        turn.worker.crashed(error, turn)
        return turn.worker.settle(turn)


def kind_of(handler: Handler[Any, Any]) -> str:
    """Where a handler runs: `event loop`, `threads` or `processes`."""
    if handler.is_async:
        return "event loop"
    return "processes" if handler.declared.executor == "process" else "threads"


class Executors:
    """The executors of one process.

    A pool of threads for each sync handler, so that a handler which blocks all of its threads never takes another's;
    one event loop for all async ones, with a limit for each; a pool of child processes for each handler that asks
    for one. Tasks that share a topic share a pool. With `weights` (by topic) all handlers of a kind share one pool, and
    its places go to the topics in that proportion. Who declares its own `concurrency` or `rate` has its own pool.
    """

    def __init__(
        self,
        settings: Settings,
        weights: Mapping[str, float] | None = None,
        *,
        on_loop_lag: Callable[[float], None] | None = None,
    ) -> None:
        self._settings = settings
        self._weights = weights or {}
        self._on_loop_lag = on_loop_lag
        self._lock = threading.Lock()
        self._made: dict[str, Executor] = {}
        self._loop: Any = None

    def of(self, handler: Handler[Any, Any]) -> Executor:
        """The executor of a handler, made at its first use."""
        name = self._pool(handler)
        found = self._made.get(name)
        if found is None:
            with self._lock:
                found = self._made.get(name)
                if found is None:
                    found = self._made[name] = self._make(handler)
        return found

    def _pool(self, handler: Handler[Any, Any]) -> str:
        kind = kind_of(handler)
        declared = handler.declared
        if kind == "processes" or declared.concurrency is not None or declared.rate is not None:
            return handler.name
        if self._weights:
            return kind
        return f"{kind} of {handler.topics} in {handler.group}" if handler.is_task else handler.name

    def concurrency(self, handler: Handler[Any, Any]) -> int:
        """How many calls of a handler may be in progress in this process."""
        kind = kind_of(handler)
        default = {"event loop": DEFAULT_TASKS, "threads": DEFAULT_THREADS, "processes": os.cpu_count() or 1}[kind]
        return handler.declared.concurrency or self._settings.concurrency or default

    def slots(self, bindings: Iterable[Binding]) -> dict[str, dict[str, int]]:
        """By handler (tasks that share a topic are one): its pools, and how many calls each of them has places for."""
        found: dict[str, dict[str, int]] = {}
        for binding in bindings:
            pools = {self._pool(handler): self.concurrency(handler) for handler in binding.handlers()}
            found.setdefault(binding.name, {}).update(pools)
        return found

    def _make(self, handler: Handler[Any, Any]) -> Executor:
        limit = self.concurrency(handler)
        kind = kind_of(handler)
        if kind == "processes":
            from elsa.worker.executors.processes import ProcessExecutor  # noqa: PLC0415 - only what is used is loaded

            return ProcessExecutor(handler, limit, self._settings, weights=self._weights)
        if kind == "threads":
            from elsa.worker.executors.threads import ThreadExecutor  # noqa: PLC0415 - see above

            return ThreadExecutor(handler.name, limit, weights=self._weights)
        from elsa.worker.executors.loop import EventLoop, LoopExecutor  # noqa: PLC0415 - asyncio costs start-up time

        if self._loop is None:
            self._loop = EventLoop(self._on_loop_lag)
        return LoopExecutor(self._loop, limit, weights=self._weights)

    def stop(self, timeout: float) -> bool:
        """End all of them; False when something still ran."""
        with self._lock:
            # all of them at once: children take a moment to shut down
            for executor in self._made.values():
                executor.stop(0.0)
            ended = [executor.stop(timeout) for executor in self._made.values()]
            if self._loop is not None:
                ended.append(self._loop.stop(timeout))
        return all(ended)
