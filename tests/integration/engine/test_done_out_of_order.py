"""A slow message at the head does not stop its partition, and what is finished above it is not run again.

The committed offset stays at the head; the commit's metadata says what is done. Whoever owns the partition next runs
what is left and nothing else, also when it is set up otherwise. What the group was told is honoured after an orderly
stop, after a rebalance, and by a worker that stops again before it has seen all of it.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Calls, Log, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Groups, Topics

pytestmark = pytest.mark.broker


def is_told(log: Log, group: str, topic: str, done: set[int], partition: int = 0) -> bool:
    """Whether the group's commit says that these are done."""
    progress = log.progress(group, topic, partition)
    return progress is not None and all(progress.is_done(offset) for offset in done)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stop_leaves_the_slow_ones_and_the_next_worker_runs_only_those(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, log: Log, *, is_async: bool
) -> None:
    """600 messages, of which two hang: the head, and one in the middle whose key has a successor."""
    name, members = topic(), group()
    first = make_app(drain_timeout=0.3)
    calls, again = Calls(), Calls()
    hangs, ends = {0, 300}, threading.Event()
    options: dict[str, Any] = {"group": members, "ordering": "key", "concurrency": 8}

    if is_async:

        @first.handler(name, **options)
        async def handle(body: int, ctx: elsa.Context) -> None:
            with calls.of(ctx):
                if body in hangs:
                    await asyncio.sleep(60)
    else:

        @first.handler(name, **options)
        def handle_sync(body: int, ctx: elsa.Context) -> None:
            with calls.of(ctx):
                if body in hangs:
                    ends.wait(60)

    keys = {301: "300"}
    first.produce(name, [elsa.Record(str(n), key=keys.get(n, str(n))) for n in range(600)])
    done = set(range(600)) - hangs - {301}
    first.start()
    until(lambda: is_told(log, members, name, done), "all that can be done is done, and told")
    assert log.committed(members, name) == 0
    first.stop(5)
    calls_of_first = calls.begun
    ends.set()

    assert sorted(calls_of_first) == sorted(done | hangs)
    assert log.committed(members, name) == 0
    assert is_told(log, members, name, done)
    second = make_app(max_in_flight=1)

    @second.handler(name, group=members, name="second")
    def otherwise(body: int, ctx: elsa.Context) -> None:
        with again.of(ctx):
            """It is fine."""

    with second:
        log.wait_committed(members, name, 600)

    assert again.begun == [0, 300, 301]


def test_a_worker_that_takes_little_at_a_time_forgets_nothing_of_what_it_was_told(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, log: Log
) -> None:
    """The last unfinished message is done when it stops, and the 400 above it have not even been looked at."""
    name, members = topic(), group()
    first = make_app(drain_timeout=0.3)
    calls: list[Calls] = [Calls(), Calls(), Calls()]

    @first.handler(name, group=members, ordering="none")
    async def hang(body: int, ctx: elsa.Context) -> None:
        with calls[0].of(ctx):
            if body == 0:
                await asyncio.sleep(60)

    first.produce(name, [str(n) for n in range(400)])
    first.start()
    until(lambda: is_told(log, members, name, set(range(1, 400))), "all but the head is done")
    first.stop(5)
    second = make_app(max_in_flight=1)
    entered, ends = threading.Event(), threading.Event()

    @second.handler(name, group=members, name="second")
    def stop_in_here(body: int, ctx: elsa.Context) -> None:
        with calls[1].of(ctx):
            entered.set()
            ends.wait(20)

    second.start()
    assert entered.wait(60)
    # it has received the others, and admits one at a time
    until(lambda: second._runtime.snapshots()[0].buffered > 0, "the others wait behind the head")
    stopping = threading.Thread(target=second.stop, args=(10,))
    stopping.start()
    until(lambda: second._runtime is None or second._runtime.managers[0].stopping is not None, "it stops")
    ends.set()
    stopping.join(60)
    third = make_app()

    @third.handler(name, group=members, name="third")
    def handle(body: int, ctx: elsa.Context) -> None:
        with calls[2].of(ctx):
            """It is fine."""

    third.produce(name, "400")
    with third:
        log.wait_committed(members, name, 401)

    assert [one.begun for one in calls[1:]] == [[0], [400]]


def test_what_was_done_stays_done_when_the_partition_moves_to_another_worker(
    make_app: Callable[..., elsa.App], topic: Topics, group: Groups, log: Log
) -> None:
    name, members = topic(2), group()
    first, second = make_app(drain_timeout=0.3), make_app()
    calls, taken = Calls(), Calls()

    @first.handler(name, group=members, ordering="key")
    async def hang(body: int, ctx: elsa.Context) -> None:
        with calls.of(ctx):
            if body == 0:
                await asyncio.sleep(60)

    @second.handler(name, group=members, ordering="partition", name="second")
    def take(body: int, ctx: elsa.Context) -> None:
        with taken.of(ctx):
            """It is fine."""

    first.produce(name, [elsa.Record(str(n), key=str(n), partition=p) for p in (0, 1) for n in range(200)])
    with first:
        for partition in (0, 1):
            done = set(range(1, 200))
            until(lambda p=partition, d=done: is_told(log, members, name, d, p), "all but the heads is done")  # type: ignore[misc]  # binds this turn's
        with second:
            ((_, partition, _, _, _),) = {one for one in taken.wait(2) if one.is_end}
            first.produce(name, elsa.Record("200", partition=partition))
            log.wait_committed(members, name, 201, partition)

    assert taken.begun == [0, 200]
    assert sorted(calls.begun) == sorted([*range(200)] * 2)
