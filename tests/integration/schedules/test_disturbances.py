"""Schedules go on firing whatever is wrong beside them: a topic that is deleted, calls that the broker refuses."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.clock import SYSTEM
from elsa.names import schedules_topic
from elsa.testing.kafka import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PATIENCE_SECONDS = 60.0


class Fires:
    """Counts the calls of a task, and waits for more of them."""

    def __init__(self) -> None:
        self._came = threading.Semaphore(0)

    def __call__(self) -> None:
        self._came.release()

    def wait_for(self, count: int) -> None:
        """So many more than have been waited for."""
        for _ in range(count):
            assert self._came.acquire(timeout=PATIENCE_SECONDS)

    def forget(self) -> None:
        while self._came.acquire(blocking=False):
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
    app.every(1)(app.task(name="tick")(lambda: fires()))
    with app:
        fires.wait_for(2)
        app.topics.delete(schedules_topic(app.name))
        wait_until(lambda: not app.topics.exists(schedules_topic(app.name)))
        wait_until(lambda: app.topics.exists(schedules_topic(app.name)))
        fires.forget()
        fires.wait_for(3)
