"""`on_exhausted="stop"` on Kafka: one partition waits for an operator, through restarts, the others go on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.control.protocol import Target
from elsa.observe.metrics import PrometheusObserver

from .waiting import Log, Seen, stays, total, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_a_halt_outlives_the_worker_and_ends_when_told_to(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    name = topic(2)
    group = ""
    for go in ("halts", "still halted", "goes on"):
        app = make_app()
        group = group or app.name
        seen: Seen[str] = Seen()

        @app.handler(name, group=group, name="handle", on_exhausted="stop", retry=elsa.Retry(max_attempts=2, base=0.1))
        def handle(body: str, seen: Seen[str] = seen, go: str = go) -> None:
            seen(body)
            if body == "bad" and go != "goes on":
                raise ValueError(body)

        with app:
            runtime = app._runtime

            def is_halted(runtime: object = runtime) -> bool:
                return {s.partition: s.paused for s in runtime.snapshots()}.get(0) == "halted"  # type: ignore[attr-defined]

            if go == "halts":
                app.produce(name, [elsa.Record(body, partition=0) for body in ("a", "bad", "behind")])
            until(is_halted, "partition 0 is halted")
            app.produce(name, elsa.Record("other", partition=1))
            if go == "halts":
                seen.wait(4)
                assert sorted(seen.items) == ["a", "bad", "bad", "other"]
            else:
                stays(lambda seen=seen: "bad" not in seen.items, 1.0, "the halt")  # type: ignore[misc]  # binds this one
            if go == "goes on":
                for manager in runtime.managers:
                    manager.resume(Target())
                seen.wait_for(lambda items: "behind" in items, "what stood behind")
                log.wait_committed(group, name, 3, 0)

    assert [one for one in seen.items if one != "other"] == ["bad", "behind"]
    assert log.partitions(f"{name}.{group}.dlq") == 0


def test_it_is_counted(make_app: Callable[..., elsa.App], topic: Topics) -> None:
    app, name = make_app(), topic()
    observer = app.observer = PrometheusObserver()

    @app.handler(name, on_exhausted="stop", retry=None)
    def handle(body: str) -> None:
        raise ValueError

    app.produce(name, ["bad"])
    with app:
        until(lambda: [s.paused for s in app._runtime.snapshots()] == ["halted"], "it is halted")
        until(lambda: total(observer, "elsa_messages_processed_total", outcome="halted") == 1, "the outcome is counted")

    assert total(observer, "elsa_partitions_halted_total") == 1


@pytest.mark.parametrize("ordering", ["partition", "key"])
def test_an_outage_halts_the_partition_instead_of_filling_the_dead_letters(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, ordering: str
) -> None:
    app, name = make_app(), topic()
    app.observer = PrometheusObserver()
    is_down = threading.Event()
    seen: Seen[int] = Seen()

    @app.handler(name, name="handle", ordering=ordering, concurrency=1, retry=None, max_dead_ratio=0.5)
    def handle(body: int) -> None:
        if is_down.is_set():
            raise ConnectionError("no database")
        seen(body)

    app.produce(name, [str(n) for n in range(5)])
    with app:
        seen.wait(5)
        is_down.set()
        app.produce(name, [str(n) for n in range(5, 60)])
        until(lambda: [s.paused for s in app._runtime.snapshots()] == ["halted"], "it is halted")
        is_down.clear()
        stays(lambda: len(seen.items) == 5, 0.5, "the halt")
        for manager in app._runtime.managers:
            manager.resume(Target())
        # the one that it halted at among them
        seen.wait_for(lambda items: len(items) == 51, "everything but the dead letters")
        log.wait_committed(app.name, name, 60)

    letters = [int(m.value or b"") for m in app.stream(f"{name}.{app.name}.dlq")]
    assert len(letters) == 9
    assert sorted(letters + seen.items) == list(range(60))
