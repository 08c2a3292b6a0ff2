"""Runs async handlers on one event loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import threading
import time
from typing import TYPE_CHECKING

from elsa.worker.executors import settle
from elsa.worker.executors.ring import Ring
from elsa.worker.executors.threads import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn


#: how often it is looked how late the loop is
LOOK_SECONDS = 0.5


class EventLoop:
    """The thread with the loop; uvloop when it is installed. Everything inside runs on that thread.

    `on_lag` is told twice a second how many seconds the loop comes late to what is due.
    """

    def __init__(self, on_lag: Callable[[float], None] | None = None) -> None:
        self.loop = _new_loop()
        self._on_lag = on_lag
        self._thread = threading.Thread(target=self._run, name="elsa-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        if self._on_lag is not None:
            self._look_later(self._on_lag)
        try:
            self.loop.run_forever()
            # handlers may have started tasks of their own: they get their cancellation before the loop closes
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            if tasks:
                self.loop.run_until_complete(asyncio.wait(tasks, timeout=1))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()

    def _look_later(self, tell: Callable[[float], None]) -> None:
        due = self.loop.time() + LOOK_SECONDS

        def look() -> None:
            tell(max(0.0, self.loop.time() - due))
            self._look_later(tell)

        self.loop.call_at(due, look)

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self, timeout: float) -> bool:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout)
        return not self._thread.is_alive()


class LoopExecutor:
    """Up to `limit` calls at once, each in a long-lived task that takes turns and awaits its calls inline.

    Everything but `submit` runs on the loop's thread, so nothing here needs a lock. A task that finds more to do than
    it takes starts two others: handlers that wait soon have all the tasks they can use, and those that never wait
    are through before the second task has begun.
    """

    def __init__(self, loop: EventLoop, limit: int, *, weights: Mapping[str, float] | None = None) -> None:
        self._loop = loop
        self.limit = limit
        self._ring = Ring(weights)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_wanted(self) -> bool:
        return bool(self._ring)

    def submit(self, worker: PartitionWorker) -> None:
        if self._loop.is_current:
            self._enter(worker)
        else:
            self._loop.loop.call_soon_threadsafe(self._enter, worker)

    def _enter(self, worker: PartitionWorker) -> None:
        if self._ring.push(worker, time.monotonic()):
            self._start()

    def _start(self) -> None:
        if self._ring and len(self._tasks) < self.limit:
            self._tasks.add(self._loop.loop.create_task(self._run()))

    async def _run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._take_turns(task)
        finally:
            self._tasks.discard(task)

    async def _take_turns(self, task: asyncio.Task[None]) -> None:
        while self._ring:
            worker = self._ring.pop()
            turn = begin(worker, self)
            if turn is None:
                continue
            if worker.is_ready(self):
                self._ring.push(worker, time.monotonic())
                self._start()
                self._start()
            if await self._turn(turn, task):
                self._ring.push(worker, time.monotonic())
            # handlers that never really wait would otherwise keep the loop from everybody else
            await _breathe()

    def _cancel(self, turn: Turn, task: asyncio.Task[None]) -> None:
        self._loop.loop.call_soon_threadsafe(self._interrupt, turn, task)

    @staticmethod
    def _interrupt(turn: Turn, task: asyncio.Task[None]) -> None:
        # by now the task may have gone on to another turn, which is not meant
        if turn.coroutine is not None:
            task.cancel()

    async def _turn(self, turn: Turn, task: asyncio.Task[None]) -> bool:
        turn.cancel = functools.partial(self._cancel, turn, task)
        turn.coroutine = task.get_coro()
        try:
            await turn.worker.run(turn)
        except BaseException as error:
            turn.worker.crashed(error, turn)
        turn.coroutine = None
        again = settle(turn)
        # a cancellation has done its work by now (or came too late to have any)
        while task.cancelling():
            task.uncancel()
        return again

    def stop(self, timeout: float) -> bool:  # noqa: ARG002 - the loop behind it is stopped with its own limit
        return True


async def _breathe() -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        # meant for the turn that has just ended
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()


def _new_loop() -> asyncio.AbstractEventLoop:
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415 - an optional extra

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()
