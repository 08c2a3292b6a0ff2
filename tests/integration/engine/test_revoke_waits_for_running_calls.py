"""A revoke waits for the calls that run in the revoked partitions, while the other partitions go on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Groups, Topics

pytestmark = pytest.mark.broker


def test_kept_partitions_are_served_while_a_revoked_one_drains(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, log: Log
) -> None:
    name, members = topic(4), group()
    first, second = make_app(), make_app()
    running: Seen[int] = Seen()
    revoking = threading.Event()
    during: Seen[tuple[str, int]] = Seen()
    drained: Seen[bool] = Seen()

    @first.handler(name, group=members, concurrency=8)
    def work(body: str, ctx: elsa.Context) -> None:
        if body == "during":
            during(("first", ctx.partition))
            return
        running(ctx.partition)
        until(lambda: ctx.is_stopping or revoking.is_set(), "a partition is taken away")
        if ctx.is_stopping:
            revoking.set()
            drained(bool(during.wait_for(lambda items: len(items) >= 2, "the kept partitions", 10)))

    @second.handler(name, group=members, name="second")
    def also(body: str, ctx: elsa.Context) -> None:
        if body == "during":
            during(("second", ctx.partition))

    # what a kept partition has in hand goes on; inside the revoke nothing new can be polled
    first.produce(name, [elsa.Record(body, partition=p) for p in range(4) for body in ("hold", "during")])
    with first:
        running.wait(4)
        with second:
            assert revoking.wait(60)
            drained.wait(2)
            during.wait(4)
            for partition in range(4):
                log.wait_committed(members, name, 2, partition)

    # the first two came while the others were being drained, and each call ran once
    assert [who for who, _ in during.items[:2]] == ["first", "first"]
    assert sorted(partition for _, partition in during.items) == [0, 1, 2, 3]
    assert sorted(running.items) == [0, 1, 2, 3]


def test_members_that_start_together_with_a_start_at_the_end(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    name, members = topic(6), group()
    apps = [make_app() for _ in range(3)]
    seen: Seen[str] = Seen()

    def handle(body: str) -> None:
        seen(body)

    for app in apps:
        app.handler(name, group=members, start="latest", name=f"h-{app.name}")(handle)
    apps[0].produce(name, [elsa.Record("old", partition=p) for p in range(6)])
    for app in apps:
        app.start()
    for app in apps:
        assert app.wait_ready()
    until(lambda: [len(app._runtime.snapshots()) for app in apps] == [2, 2, 2], "they share")
    apps[0].produce(name, [elsa.Record("new", partition=p) for p in range(6)])
    seen.wait(6)
    for partition in range(6):
        log.wait_committed(members, name, 2, partition)

    assert seen.items == ["new"] * 6
    events: list[Any] = [record.__dict__.get("event") for record in caplog.records]
    assert "group_restart" not in events
