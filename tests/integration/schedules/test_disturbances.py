"""Schedules go on firing whatever is wrong beside them: a topic that is deleted, calls that the broker refuses."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.clock import SYSTEM
from elsa.names import schedules_topic
from elsa.testing.kafka import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.testing.kafka import Topics

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PATIENCE_SECONDS = 60.0


class Fires:
    """Counts the calls of a task, and waits for more of them."""

    def __init__(self) -> None:
        self._count = threading.Semaphore(0)

    def came(self) -> None:
        self._count.release()

    def wait_for(self, count: int) -> None:
        """So many more than have been waited for."""
        for _ in range(count):
            assert self._count.acquire(timeout=PATIENCE_SECONDS)

    def forget(self) -> None:
        while self._count.acquire(blocking=False):
            pass


def wait_until(is_so: Callable[[], bool]) -> None:
    end = SYSTEM.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert SYSTEM.monotonic() < end
        threading.Event().wait(0.1)


@pytest.fixture
def app(brokers: str) -> Iterator[elsa.App]:
    made = elsa.App(unique_name("disturbed"), brokers=brokers, metadata_refresh=1.0)
    yield made
    made.stop()
    for name in made.topics.list(internal=True):
        if name.startswith(made.name):
            made.topics.delete(name, missing_ok=True)
    for name in (made.name, f"{made.name}.scheduler"):
        made.groups.delete(name)


def test_a_topic_of_schedules_that_is_deleted_is_made_anew(app: elsa.App) -> None:
    fires = Fires()

    @app.every(1)
    @app.task
    def tick() -> None:
        fires.came()

    with app:
        fires.wait_for(2)
        # waits until it is gone; to look again might be too late
        app.topics.delete(schedules_topic(app.name))
        wait_until(lambda: app.topics.exists(schedules_topic(app.name)))
        fires.forget()
        fires.wait_for(3)


@pytest.mark.parametrize(
    ("limit", "size"), [(2_000, 5_000), (1_000_000, 1_500_000)], ids=["in one request", "by itself"]
)
def test_a_call_that_is_too_large_holds_nobody_else_up(
    app: elsa.App, topic: Topics, caplog: pytest.LogCaptureFixture, limit: int, size: int
) -> None:
    fires = Fires()
    where = topic(config={"max.message.bytes": str(limit)})

    @app.every(1, name="small")
    @app.task(topic=where)
    def small() -> None:
        fires.came()

    @app.every(1, name="large", args=("x" * size,))
    @app.task(topic=where)
    def large(text: str) -> None: ...

    def held() -> set[str]:
        return {getattr(one, "schedule", "") for one in caplog.records if getattr(one, "event", "") == "schedule_held"}

    with app:
        wait_until(lambda: "large" in held())
        fires.wait_for(8)

    assert held() == {"large"}
    ids = [(message.header("elsa-id") or b"").decode() for message in app.stream(where)]
    times = [datetime.fromisoformat(one.removeprefix("small:")).timestamp() for one in ids]
    assert times == [times[0] + number for number in range(len(times))]
