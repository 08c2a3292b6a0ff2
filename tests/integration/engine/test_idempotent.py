"""`idempotent_by` on Kafka: ids outlive the worker, a duplicate is not run, also not beside the first."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.worker import seen as module

from .waiting import Log, Seen, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def records(*bodies: tuple[str, str]) -> list[elsa.Record]:
    return [elsa.Record(body, key="k", headers={"elsa-id": id_}, partition=0) for body, id_ in bodies]


def test_ids_outlive_the_worker(make_app: Callable[..., elsa.App], topic: Topics, log: Log) -> None:
    name = topic(2)
    group = ""
    found = []
    for number in range(3):
        app = make_app()
        group = group or app.name
        seen: Seen[str] = Seen()

        @app.handler(name, group=group, name="handle", idempotent_by="id")
        def handle(body: str, seen: Seen[str] = seen) -> None:
            seen(body)

        app.produce(name, records((f"{number}", "same"), (f"{number}-own", f"id-{number}")))
        with app:
            log.wait_committed(group, name, 2 * (number + 1))
        found += seen.items

    assert found == ["0", "0-own", "1-own", "2-own"]
    ids = [message.key for message in log.read(f"{name}.{group}.seen")]
    assert ids == [b"same", b"id-0", b"id-1", b"id-2"]
    assert app.topics.describe(f"{name}.{group}.seen").config["cleanup.policy"] == "compact,delete"


def test_a_duplicate_waits_beside_the_first_and_is_then_skipped(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    app, name = make_app(), topic(1)
    seen: Seen[str] = Seen()
    go = threading.Event()

    @app.handler(name, ordering="none", concurrency=8, idempotent_by="id")
    def handle(body: str) -> None:
        seen(body)
        if body == "first":
            go.wait(20)

    app.produce(name, records(("first", "a"), ("second", "a"), ("other", "b")))
    with app:
        seen.wait(2)
        until(lambda: app._runtime.snapshots()[0].in_progress == 2, "the duplicate waits")
        go.set()
        log.wait_committed(app.name, name, 3)

    assert sorted(seen.items) == ["first", "other"]


def test_only_so_many_ids_are_loaded(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_IDS", 10)
    app, name = make_app(), topic(1)
    seen: Seen[str] = Seen()

    @app.handler(name, idempotent_by="id")
    def handle(body: str) -> None:
        seen(body)

    app.topics.create(f"{name}.{app.name}.seen", partitions=1)
    app.produce(f"{name}.{app.name}.seen", [elsa.Record(b"", key=f"id-{n}") for n in range(30)])
    app.produce(name, records(("old", "id-5"), ("new", "id-25")))
    with app:
        log.wait_committed(app.name, name, 2)

    assert seen.items == ["old"]


def test_nothing_runs_before_the_ids_are_known(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, name = make_app(), topic(1)
    seen: Seen[str] = Seen()
    fails = iter([True, True, False])
    read = module.Loading._read

    def reading(self: module.Loading) -> list[tuple[bytes, float]]:
        if next(fails):
            raise elsa.errors.BrokerUnavailable("away")
        assert seen.items == []
        return read(self)

    monkeypatch.setattr(module.Loading, "_read", reading)

    @app.handler(name, idempotent_by="id")
    def handle(body: str) -> None:
        seen(body)

    app.produce(name, records(("a", "1")))
    with app:
        until(lambda: [s.paused for s in app._runtime.snapshots()] == ["loading"], "it loads")
        seen.wait(1)
        log.wait_committed(app.name, name, 1)
