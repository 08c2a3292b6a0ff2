"""`ordering="key"`: the keys of one partition run side by side, each of them strictly in order.

That holds through retries in place, too: a message that waits for its next attempt parks its own key and nothing else,
and holds no thread, however many wait. Messages without a key have no order, and with `ordering="none"` none has.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import elsa

from .waiting import Calls, Log, Seen, soon

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("ordering", "keys"),
    [("key", ["a", "b", "c", "d"]), ("key", [None] * 4), ("none", ["a"] * 4)],
    ids=["keys", "no key", "no order"],
)
def test_what_need_not_wait_for_each_other_runs_at_once(
    app: elsa.App, topic: Topics, log: Log, ordering: str, keys: list[str | None], *, is_async: bool
) -> None:
    """The first four calls only end when all of them are in progress, in one partition."""
    name = topic()
    calls = Calls()

    if is_async:

        @app.handler(name, ordering=ordering, concurrency=4)
        async def handle(body: str, ctx: elsa.Context) -> None:
            with calls.of(ctx):
                await soon(lambda: len(calls.begun) >= 4, "four calls have begun")
    else:

        @app.handler(name, ordering=ordering, concurrency=4)
        def handle_sync(body: str, ctx: elsa.Context) -> None:
            with calls.of(ctx):
                calls.wait_begun(4)

    app.produce(name, [elsa.Record(str(n), key=keys[n % 4]) for n in range(40)])
    with app:
        log.wait_committed(app.name, name, 40)

    assert sorted(calls.begun) == list(range(40))
    assert calls.most_at_once() == 4
    if ordering == "key":
        calls.check_keys()


@pytest.mark.parametrize("is_async", [False, True])
def test_a_retry_that_waits_parks_its_key_and_nothing_else(
    app: elsa.App, topic: Topics, log: Log, *, is_async: bool
) -> None:
    name = topic()
    calls = Calls()
    goes_on = threading.Event()

    def work(ctx: elsa.Context) -> None:
        with calls.of(ctx):
            if ctx.key == b"parked" and not goes_on.is_set():
                raise elsa.RetryLater(0.3)

    if is_async:

        @app.handler(name, ordering="key", concurrency=2, retry=elsa.Retry(max_attempts=1_000))
        async def handle(body: str, ctx: elsa.Context) -> None:
            work(ctx)
    else:

        @app.handler(name, ordering="key", concurrency=2, retry=elsa.Retry(max_attempts=1_000))
        def handle_sync(body: str, ctx: elsa.Context) -> None:
            work(ctx)

    keys = ["parked", "parked", "other", "another"]
    app.produce(name, [elsa.Record(str(n), key=keys[n % 4]) for n in range(80)])
    with app:
        # everything but the parked key's 40 messages, while its first one is tried again and again
        calls.wait_for(lambda items: sum(one.key != b"parked" and one.is_end for one in items) == 40, "the others")
        calls.wait_for(lambda items: any(one.attempt >= 3 for one in items), "a third attempt")
        assert {one.offset for one in calls.items if one.key == b"parked"} == {0}
        goes_on.set()
        log.wait_committed(app.name, name, 80)

    calls.check_keys()
    assert {offset for offset in calls.begun if calls.begun.count(offset) > 1} == {0}


def test_retries_that_wait_hold_no_thread(app: elsa.App, topic: Topics, log: Log) -> None:
    """Sixty messages wait on two threads, and the next ones run at once."""
    name = topic()
    calls = Calls()
    seen: Seen[int] = Seen()

    @app.handler(name, ordering="key", concurrency=2, retry=elsa.Retry(max_attempts=2))
    def handle(body: str, ctx: elsa.Context) -> None:
        if body == "fine":
            seen(sum(one.attempt > 1 for one in calls.items))
            return
        with calls.of(ctx):
            if ctx.attempt == 1:
                raise elsa.RetryLater(4)

    app.produce(name, [elsa.Record("fails", key=f"k{n}") for n in range(60)])
    with app:
        calls.wait(120)
        app.produce(name, [elsa.Record("fine", key=f"f{n}") for n in range(20)])
        # none of those that wait had come again by then
        assert seen.wait(20) == [0] * 20
        threads = [one.name for one in threading.enumerate() if one.name.startswith(f"elsa-{handle.name}")]
        log.wait_committed(app.name, name, 80)

    assert len(threads) <= 2
    assert sorted(calls.begun) == sorted([*range(60)] * 2)
    calls.check_keys()
