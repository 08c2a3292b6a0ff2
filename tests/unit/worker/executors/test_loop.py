"""The event loop's own matters: cancelling hits the turn it is meant for, and never the next one of the same task."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.worker.executors.loop import EventLoop, LoopExecutor

from ..parts import Around

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def executor() -> Iterator[LoopExecutor]:
    loop = EventLoop()
    yield LoopExecutor(loop, 1)
    assert loop.stop(5)


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-loop")
    yield app
    app.stop()


def test_a_cancellation_that_comes_late_hits_nobody_else(executor: Any, app: elsa.App, raw: Any) -> None:
    """The task that ran the cancelled turn is in somebody else's call by then."""
    running, go_on = threading.Event(), threading.Event()
    ends: list[str] = []

    @app.handler("t")
    async def handle(body: int) -> None:
        if body == 1:
            running.set()
            try:
                await asyncio.get_running_loop().run_in_executor(None, go_on.wait, 5)
            except asyncio.CancelledError:
                ends.append("cancelled")
                raise
        ends.append(f"done {body}")

    around, other = Around(), Around()
    around.place = other.place = executor
    first, second = around.make(app), other.make(app)
    first.put([raw(0, b"0")])
    turn = first.begin(executor)
    assert turn is not None

    async def play() -> None:
        task = asyncio.current_task()
        assert task is not None
        await executor._turn(turn, task)

    loop = executor._loop.loop
    asyncio.run_coroutine_threadsafe(play(), loop).result(5)
    second.put([raw(1, b"1")])
    assert running.wait(5)
    # what `PartitionWorker.cancel` has asked for while the first turn ran comes only now
    executor._cancel(turn, next(iter(executor._tasks)))
    go_on.set()
    done = threading.Event()
    loop.call_soon_threadsafe(lambda: loop.call_later(0.05, done.set))
    assert done.wait(5)

    assert ends == ["done 0", "done 1"]


def test_a_cancellation_in_time_interrupts_the_call(executor: Any, app: elsa.App, raw: Any) -> None:
    running = threading.Event()
    ends: list[str] = []

    @app.handler("t")
    async def handle(body: int) -> None:
        running.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    around = Around()
    around.place = executor
    worker = around.make(app)
    worker.put([raw(0, b"0")])
    assert running.wait(5)
    worker.close()
    worker.cancel()
    end = threading.Event()
    executor._loop.loop.call_soon_threadsafe(lambda: executor._loop.loop.call_later(0.05, end.set))
    assert end.wait(5)

    assert ends == ["cancelled"]
    assert around.kinds == [(0, "abandoned")]
    assert around.has_ended
