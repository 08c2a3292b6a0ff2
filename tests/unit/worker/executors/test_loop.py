"""The event loop's tasks: what is meant for one turn never reaches another."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from elsa.worker.executors.loop import EventLoop, LoopExecutor

from .test_contract import Turn, Worker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[EventLoop]:
    loop = EventLoop()
    yield loop
    assert loop.stop(5)


class Keeping(Worker):
    """Keeps its turn."""

    turn: Turn

    async def run(self, turn: Turn) -> None:
        self.turn = turn
        await super().run(turn)


def test_a_cancellation_interrupts_the_call_it_is_meant_for(loop: EventLoop) -> None:
    executor = LoopExecutor(loop, 1)
    began = threading.Event()

    async def wait(_: int) -> None:
        began.set()
        await asyncio.sleep(60)

    worker = Keeping(1, wait)
    executor.submit(worker)  # type: ignore[arg-type]  # a stand-in
    assert began.wait(30)
    worker.turn.cancel()

    assert worker.done.wait(30)
    assert [type(error) for error in worker.errors] == [asyncio.CancelledError]


def test_a_cancellation_that_comes_too_late_does_nothing_to_the_next_call(loop: EventLoop) -> None:
    """The same task has gone on to another partition by then."""
    executor = LoopExecutor(loop, 1)
    began = [threading.Event(), threading.Event()]
    goes_on = [asyncio.Event(), asyncio.Event()]

    async def wait(which: int) -> None:
        began[which].set()
        await goes_on[which].wait()

    first, second = Keeping(1, lambda _: wait(0)), Keeping(1, lambda _: wait(1))
    executor.submit(first)  # type: ignore[arg-type]  # a stand-in
    assert began[0].wait(30)
    executor.submit(second)  # type: ignore[arg-type]  # a stand-in
    loop.loop.call_soon_threadsafe(goes_on[0].set)
    assert began[1].wait(30)
    first.turn.cancel()
    loop.loop.call_soon_threadsafe(goes_on[1].set)

    assert second.done.wait(30)
    assert second.errors == []
    assert second.ran == [0]
