"""Case 40: a handler that starts and joins threads or tasks of its own keeps its worker alive; nothing restarts."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.observer import GroupObserver, Observer

from .waiting import Log, Seen

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


class Restarts(Observer):
    def __init__(self) -> None:
        self.seen: Seen[Any] = Seen()

    def group(self, group: str | None) -> GroupObserver:
        counter = self.seen

        class Counting(GroupObserver):
            def restarted(self, what: str, reason: str) -> None:
                counter((what, reason))

        return Counting()


def test_threads_pools_and_tasks_of_a_handler(make_app: Callable[..., elsa.App], topic: Topics, log: Log) -> None:
    observer = Restarts()
    app = make_app(observer=observer)
    one, two = topic(), topic()
    seen: Seen[tuple[str, int]] = Seen()

    def note(kind: str) -> None:
        seen((kind, elsa.current().offset))

    @app.handler(one)
    def sync(body: str) -> None:
        thread = threading.Thread(target=note, args=("thread",))
        thread.start()
        thread.join()
        with ThreadPoolExecutor(2) as pool:
            pool.submit(note, "pool").result()

    @app.handler(two)
    async def coroutine(body: str) -> None:
        async def child() -> None:
            note("task")

        await asyncio.create_task(child())
        await asyncio.to_thread(note, "to_thread")

    app.produce(one, ["x"] * 3)
    app.produce(two, ["x"] * 3)
    with app:
        items = seen.wait(12)
        log.wait_committed(app.name, one, 3)
        log.wait_committed(app.name, two, 3)

    assert sorted(items) == sorted((kind, n) for kind in ("thread", "pool", "task", "to_thread") for n in range(3))
    assert observer.seen.items == []
