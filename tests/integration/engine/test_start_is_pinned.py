"""Where a new group begins: `start=` latest, a number, a time, a map; committed before the first message runs.

Otherwise a crash before the first commit would resolve it again, and what came in between would be lost.
"""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen, stays

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def _collect(app: elsa.App, name: str, **options: Any) -> Seen[str]:
    seen: Seen[str] = Seen()

    @app.handler(name, **options)
    def handle(body: str) -> None:
        seen(body)

    return seen


def test_earliest_is_the_default_of_groups(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen = _collect(app, name)
    app.produce(name, ["a", "b"])
    with app:
        assert seen.wait(2) == ["a", "b"]


def test_latest_is_committed_before_the_first_message(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    committed: Seen[Any] = Seen()
    seen: Seen[str] = Seen()

    @app.handler(name, start="latest")
    def handle(body: str) -> None:
        committed(log.committed(app.name, name))
        seen(body)

    app.produce(name, ["a", "b", "c"])
    with app:
        assert app.wait_ready()
        log.wait_committed(app.name, name, 3)
        app.produce(name, "d")
        assert seen.wait(1) == ["d"]

    assert committed.items == [3]


def test_a_number_a_map_and_a_committed_offset_that_wins(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(4)
    seen = _collect(app, name, start={0: 1, 1: "latest", 3: 2})
    app.produce(name, [elsa.Record(f"{p}-{n}", partition=p) for p in range(4) for n in range(3)])
    log.commit(app.name, name, 1, 3)
    with app:
        seen.wait(7)
        stays(lambda: len(seen) == 7, 0.3, "nothing else comes")

    assert sorted(seen.items) == ["0-1", "0-2", "2-0", "2-1", "2-2", "3-1", "3-2"]


def test_a_time(app: elsa.App, topic: Topics) -> None:
    name = topic()
    middle = time.time() - 100
    seen = _collect(app, name, start=dt.datetime.fromtimestamp(middle, dt.UTC))
    app.produce(name, [elsa.Record("before", timestamp=middle - 1), elsa.Record("after", timestamp=middle + 1)])
    with app:
        seen.wait(1)
        stays(lambda: seen.items == ["after"], 0.3, "what lies before is not read")


def test_a_time_after_the_end_means_latest(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen = _collect(app, name, start=dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
    app.produce(name, "old")
    with app:
        assert app.wait_ready()
        app.produce(name, "new")
        assert seen.wait(1) == ["new"]
