"""Case 32: hooks see each partition come and go, may veto one, and never kill the worker by raising."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen, stays, until

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_the_assigned_hook_runs_per_partition_and_may_veto_one(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(2)
    assigned: Seen[Any] = Seen()
    seen: Seen[str] = Seen()

    @app.handler(name)
    def handle(body: str) -> None:
        seen(body)

    @app.on_assigned
    def look(ctx: Any) -> None:
        assigned((ctx.group, ctx.topic, ctx.partition, ctx.generation))
        if ctx.partition == 1:
            raise elsa.RejectAssignment("not this one")

    app.produce(name, [elsa.Record("kept", partition=1), elsa.Record("handled", partition=0)])
    with app:
        seen.wait(1)
        app.produce(name, [elsa.Record("kept, too", partition=1), elsa.Record("handled, too", partition=0)])
        seen.wait(2)
        log.wait_committed(app.name, name, 2, 0)
        stays(lambda: seen.items == ["handled", "handled, too"], 0.5, "no call for the rejected partition")
        reasons = {s.partition: s.paused for s in app._runtime.snapshots()}

    generation = assigned.items[0][3]
    assert sorted(assigned.items) == [(app.name, name, 0, generation), (app.name, name, 1, generation)]
    assert generation >= 1
    assert reasons[1] == "rejected"
    assert log.committed(app.name, name, 1) is None


def test_the_revoked_hook_runs_after_the_last_call_returned(app: elsa.App, topic: Topics) -> None:
    name = topic()
    order: Seen[str] = Seen()
    running: Seen[elsa.Context] = Seen()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> None:
        running(ctx)
        until(lambda: ctx.is_stopping, "the partition is taken away")
        order("returned")

    @app.on_revoked
    def look(partitions: list[Any]) -> None:
        order(f"revoked {partitions[0].partition}")

    app.produce(name, "x")
    with app:
        running.wait(1)

    assert order.items == ["returned", "revoked 0"]


def test_raising_hooks_are_not_fatal(app: elsa.App, topic: Topics, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    name = topic()
    seen: Seen[str] = Seen()

    @app.handler(name)
    def handle(body: str) -> None:
        seen(body)

    for declare in (app.on_assigned, app.on_revoked, app.on_startup, app.on_shutdown):

        @declare
        def fail(*args: Any) -> None:
            raise ValueError("a bug in the hook")

    app.produce(name, "x")
    with app:
        seen.wait(1)
        log.wait_committed(app.name, name, 1)

    failed = {record.__dict__["hook"] for record in caplog.records if record.msg == "hook failed"}
    assert failed == {"on_assigned", "on_revoked", "on_startup", "on_shutdown"}


def test_startup_and_shutdown_enclose_everything(app: elsa.App, topic: Topics) -> None:
    name = topic()
    order: Seen[str] = Seen()

    @app.handler(name)
    def handle(body: str) -> None:
        order(body)

    app.on_startup(lambda: order("startup"))
    app.on_shutdown(lambda: order("shutdown"))
    app.on_revoked(lambda _: order("revoked"))
    app.produce(name, "message")
    with app:
        order.wait(2)

    assert order.items == ["startup", "message", "revoked", "shutdown"]
