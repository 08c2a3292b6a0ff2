"""Runs async handlers on one event loop, in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import threading
from collections import deque
from typing import TYPE_CHECKING

from elsa.worker.executors import settle

if TYPE_CHECKING:
    from elsa.worker.partition import PartitionWorker


class EventLoop:
    """The thread with the loop; uvloop when it is installed. Everything inside runs on that thread."""

    def __init__(self) -> None:
        self.loop = _new_loop()
        self._thread = threading.Thread(target=self._run, name="elsa-loop", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
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

    @property
    def is_current(self) -> bool:
        return threading.current_thread() is self._thread

    def stop(self, timeout: float) -> bool:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout)
        return not self._thread.is_alive()


class LoopExecutor:
    """Up to `limit` lanes of one handler at once, each in a long-lived task that awaits its calls inline.

    Everything but `submit` runs on the loop's thread, so nothing here needs a lock.
    """

    def __init__(self, loop: EventLoop, limit: int) -> None:
        self._loop = loop
        self._limit = limit
        self._waiting: deque[PartitionWorker] = deque()
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, worker: PartitionWorker) -> None:
        if self._loop.is_current:
            self._start(worker)
        else:
            self._loop.loop.call_soon_threadsafe(self._start, worker)

    def _start(self, worker: PartitionWorker) -> None:
        if len(self._tasks) >= self._limit:
            self._waiting.append(worker)
            return
        task = self._loop.loop.create_task(self._run(worker))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if self._waiting and len(self._tasks) < self._limit:
            self._start(self._waiting.popleft())

    async def _run(self, worker: PartitionWorker) -> None:
        task = asyncio.current_task()
        assert task is not None
        while await self._slice(worker, task):
            if self._waiting:
                # the others first: one busy lane must not keep its place for ever
                self._waiting.append(worker)
                return
            # handlers that never really wait would otherwise keep the loop from everybody else
            await _breathe()

    def _cancel(self, task: asyncio.Task[None]) -> None:
        self._loop.loop.call_soon_threadsafe(task.cancel)

    async def _slice(self, worker: PartitionWorker, task: asyncio.Task[None]) -> bool:
        result = None
        worker.cancel_running = functools.partial(self._cancel, task)
        try:
            step = worker.lifecycle()
            if step is not None:
                outcome = step()
                if asyncio.iscoroutine(outcome):
                    await outcome
            raws = worker.take()
            result = await worker.run_async(raws) if raws else None
        except BaseException as error:
            worker.crashed(error)
        worker.cancel_running = None
        # a cancellation has done its work by now (or came too late to have any)
        while task.cancelling():
            task.uncancel()
        return settle(worker, result)

    def stop(self, timeout: float) -> bool:  # noqa: ARG002 - the loop behind it is stopped with its own limit
        return True


async def _breathe() -> None:
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        # meant for the slice that has just ended
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()


def _new_loop() -> asyncio.AbstractEventLoop:
    if importlib.util.find_spec("uvloop") is not None:
        import uvloop  # noqa: PLC0415 - an optional extra

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        return loop
    return asyncio.new_event_loop()
