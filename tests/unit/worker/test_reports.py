"""What handlers work on now, in words: where, for how long, how far, and at which line."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.testing.clock import FakeClock
from elsa.worker import reports
from elsa.worker.executors.loop import EventLoop, LoopExecutor

from .parts import Around

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-reports")
    yield app
    app.stop()


@pytest.fixture
def around() -> Around:
    return Around(clock=FakeClock())


def test_a_running_call_tells_what_it_is(app: elsa.App, around: Around, raw: Any) -> None:
    found: list[dict[str, Any]] = []

    @app.handler("t", ordering="key", name="bill")
    def handle(body: int, ctx: elsa.Context) -> None:
        ctx.heartbeat({"page": 3})
        found.extend(reports.calls(worker))

    worker = around.make(app, attempts={7: 2})
    worker.put([raw(7, b"0", key=b"a")])
    assert reports.calls(worker) == []
    around.run(worker)

    (call,) = found
    stack, seconds = call.pop("stack"), call.pop("seconds")
    assert call == {
        "handler": "bill",
        "group": "unit-reports",
        "source": "t",
        "topic": "t",
        "partition": 0,
        "delivery": "at_least_once",
        "offset": 7,
        "key": "a",
        "messages": 1,
        "attempt": 3,
        "progress": {"page": 3},
    }
    assert 0 <= seconds < 60
    assert "found.extend(reports.calls(worker))" in stack
    assert reports.calls(worker) == []


def test_stacks_may_be_left_out(app: elsa.App, around: Around, raw: Any) -> None:
    found: list[dict[str, Any]] = []

    @app.handler("t")
    def handle(body: int) -> None:
        found.extend(reports.calls(worker, with_stacks=False))

    worker = around.make(app)
    worker.put([raw(0, b"0")])
    around.run(worker)

    assert "stack" not in found[0]


def test_a_batch_is_one_call_of_several_messages(app: elsa.App, around: Around, raw: Any) -> None:
    found: list[dict[str, Any]] = []

    @app.handler("t", batch=3, batch_wait=0)
    def handle(bodies: list[int]) -> None:
        found.extend(reports.calls(worker))

    worker = around.make(app)
    worker.put([raw(offset, b"0") for offset in range(4, 7)])
    around.run(worker)

    assert [(call["offset"], call["messages"]) for call in found] == [(4, 3)]


def test_a_task_is_called_by_its_own_name(app: elsa.App, around: Around, raw: Any) -> None:
    found: list[dict[str, Any]] = []

    @app.task(topic="t", name="shop.welcome")
    def welcome(n: int) -> None:
        found.extend(reports.calls(worker))

    worker = around.make(app)
    worker.put([raw(0, b"[[1],{}]", headers=[("elsa-task", b"shop.welcome")])])
    around.run(worker)

    assert [call["handler"] for call in found] == ["shop.welcome"]


def test_a_coroutine_that_waits_shows_where_it_waits(app: elsa.App, around: Around, raw: Any) -> None:
    """Its thread is the loop's, and stands somewhere else."""
    entered, goes_on = threading.Event(), asyncio.Event()

    async def wait_for_the_bank() -> None:
        entered.set()
        await goes_on.wait()

    @app.handler("t")
    async def handle(body: int) -> None:
        await wait_for_the_bank()

    loop = EventLoop()
    try:
        around.place = LoopExecutor(loop, 1)  # type: ignore[assignment]  # a real one
        worker = around.make(app)
        worker.put([raw(0, b"0")])
        assert entered.wait(60)
        (call,) = reports.calls(worker)
        loop.loop.call_soon_threadsafe(goes_on.set)
    finally:
        assert loop.stop(5)

    assert "await wait_for_the_bank()" in call["stack"]
    assert "await goes_on.wait()" in call["stack"]
