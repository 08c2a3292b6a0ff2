"""Case 39: one process, two groups, two handlers on one topic: each gets every message, a blocked one delays nobody."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.errors import DeclarationError, UnsupportedOption

from .waiting import Log, Seen, stays

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_a_blocked_handler_does_not_delay_another_group(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    slow: Seen[str] = Seen()
    fast: Seen[str] = Seen()
    gate = threading.Event()

    @app.handler(name, group=f"{app.name}-slow", concurrency=1)
    def block(body: str) -> None:
        gate.wait(30)
        slow(body)

    @app.handler(name, group=f"{app.name}-fast", concurrency=1)
    def go(body: str) -> None:
        fast(body)

    values = [str(n) for n in range(10)]
    app.produce(name, values)
    with app:
        assert fast.wait(10) == values
        log.wait_committed(f"{app.name}-fast", name, 10)
        assert slow.items == []
        gate.set()
        assert slow.wait(10) == values


def test_a_blocked_partition_does_not_delay_the_others(app: elsa.App, topic: Topics) -> None:
    name = topic(4)
    seen: Seen[int] = Seen()
    gate = threading.Event()

    @app.handler(name, concurrency=4)
    def handle(body: str, ctx: elsa.Context) -> None:
        if body == "block":
            gate.wait(30)
        seen(ctx.partition)

    # first everybody is warm, then three of four threads are blocked at once
    app.produce(name, [elsa.Record("x", partition=p) for p in range(4)])
    with app:
        seen.wait(4)
        app.produce(name, [elsa.Record("block", partition=p) for p in (0, 1, 2)] + [elsa.Record("x", partition=3)])
        try:
            seen.wait_for(lambda items: items[4:] == [3], "the partition that is not blocked", 5)
        finally:
            gate.set()


def test_sync_and_async_handlers_run_side_by_side(app: elsa.App, topic: Topics) -> None:
    first, second = topic(), topic(3)
    seen: Seen[str] = Seen()
    together = asyncio.Event()
    partitions: set[int] = set()
    gate = threading.Event()

    @app.handler(first)
    def sync(body: str) -> None:
        gate.wait(30)
        seen("sync")

    @app.handler(second)
    async def coroutine(body: str, ctx: elsa.Context) -> None:
        partitions.add(ctx.partition)
        if len(partitions) == 3:
            together.set()
        await together.wait()
        seen("async")

    with app:
        app.produce(first, "x")
        app.produce(second, [elsa.Record("x", partition=p) for p in range(3)])
        # three calls of one loop wait for each other, and none for the blocked thread
        assert seen.wait(3) == ["async"] * 3
        gate.set()
        seen.wait(4)


def test_topics_by_name_list_and_pattern_but_no_internal_ones(app: elsa.App, topic: Topics, log: Log) -> None:
    one, two, three = topic(), topic(), topic()
    seen: Seen[tuple[str, str]] = Seen()

    @app.handler([one, two], name="list")
    def by_list(body: str, ctx: elsa.Context) -> None:
        seen(("list", ctx.topic))
        raise elsa.Reject("makes a dead letter")

    @app.handler(f"^{three[:-4]}.*", name="pattern", group=f"{app.name}-pattern")
    def by_pattern(body: str, ctx: elsa.Context) -> None:
        seen(("pattern", ctx.topic))
        raise elsa.Reject("makes a dead letter that the pattern matches, too")

    for name in (one, two, three):
        app.produce(name, "x")
    with app:
        seen.wait(3)
        log.wait_for(f"{three}.{app.name}-pattern.dlq", 1)
        # longer than the topics are listed anew
        stays(lambda: len(seen) == 3, 2.5, "no dead letter comes back")

    assert sorted(seen.items) == sorted([("list", one), ("list", two), ("pattern", three)])


def test_a_second_handler_on_a_topic_of_a_group_is_refused(app: elsa.App) -> None:
    @app.handler("orders", name="first")
    def first(body: str) -> None: ...

    with pytest.raises(DeclarationError, match="another group="):

        @app.handler("orders", name="second")
        def second(body: str) -> None: ...


def test_options_without_machinery_are_refused_with_a_hint(app: elsa.App) -> None:
    with pytest.raises(UnsupportedOption, match="hint: "):
        app.handler("orders", transactional=True, executor="process")(lambda body: None)
