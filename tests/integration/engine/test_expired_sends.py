"""Messages whose time was over before a worker came to them are not run, wherever the handler runs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from elsa import headers as names
from elsa.observe.metrics import PrometheusObserver

from .waiting import Log, Seen, total, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import elsa
    from elsa.testing.kafka import Topics

    from .jobs import Jobs

pytestmark = pytest.mark.broker


def test_what_is_too_old_is_skipped_and_counted(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(1)
    app.observer = observer = PrometheusObserver()
    seen: Seen[int] = Seen()

    @app.handler(name)
    def handle(body: int) -> None:
        seen(body)

    handle.options(expires=0.05).send(1).result(10)
    over = time.time() + 0.05
    handle.options(expires=3600).send(2).result(10)
    handle.send(3).result(10)
    until(lambda: time.time() > over, "the first has expired")
    with app:
        log.wait_committed(app.name, name, 3)

    assert seen.items == [2, 3]
    assert total(observer, "elsa_messages_expired_total") == 1
    assert log.partitions(f"{name}.{app.name}.dlq") == 0


def test_what_is_too_old_is_a_dead_letter_and_no_child_hears_of_it(jobs: Callable[..., Jobs]) -> None:
    job = jobs('on_expired="dead_letter"', ordering="partition")
    job.app.send(job.name, {"do": "late", "n": 1}, expires=0.05).result(10)
    over = time.time() + 0.05
    job.app.send(job.name, {"do": "in time", "n": 2}, expires=3600).result(10)
    until(lambda: time.time() > over, "the first has expired")
    with job.app:
        job.committed(2)

    assert [n for _, n, _ in job.told("late", "in time")] == [2]
    (letter,) = job.dead(1)
    assert names.text(letter.headers, names.REASON) == "expired"
    assert names.text(letter.headers, names.ATTEMPT) == "0"
