"""Replayed dead letters come back to the group that failed and to nobody else, as the messages that they were."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.middleware import age_limit

from .waiting import Log, Seen, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def facts(ctx: elsa.Context) -> tuple[Any, ...]:
    return ctx.topic, ctx.partition, ctx.offset, ctx.key, ctx.attempt


def test_only_the_group_that_failed_gets_them_back(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(2)
    failed, billed, mailed = Seen[tuple[Any, ...]](), Seen[tuple[Any, ...]](), Seen[str]()
    is_mended = threading.Event()

    @app.handler(name, group=f"{app.name}-bill")
    def bill(body: str, ctx: elsa.Context) -> None:
        if not is_mended.is_set():
            failed(facts(ctx))
            raise elsa.Reject("the bank is away")
        billed(facts(ctx))

    @app.handler(name, group=f"{app.name}-mail")
    def mail(body: str) -> None:
        mailed(body)

    bodies = [f"body {n}" for n in range(6)]
    app.produce(name, [elsa.Record(body, key=f"k{n}", partition=n % 2) for n, body in enumerate(bodies)])
    letters = app.dead_letters(name, group=f"{app.name}-bill")
    with app:
        log.wait_for(letters.topic, 6)
        mailed.wait(6)
        is_mended.set()
        result = letters.replay()
        # what they were: with the place of the origin, at their first attempt
        assert sorted(billed.wait(6)) == sorted(failed.items)
        app.produce(name, ["the last"])
        billed.wait(7)
        mailed.wait(7)

    assert result.targets == {f"{name}.{app.name}-bill.retry": 6}
    assert app.dead_letter_topics() == [letters.topic]
    assert sorted(mailed.items) == sorted([*bodies, "the last"])
    assert len(billed.items) == 7
    assert sum(log.ends(name).values()) == 7


def test_one_that_fails_again_is_open_again(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()

    @app.handler(name, retry=elsa.Retry(max_attempts=2, base=0.01))
    def bill(body: str) -> None:
        raise TimeoutError("the bank is away")

    app.produce(name, ["x"])
    letters = app.dead_letters(name, group=app.name)
    with app:
        log.wait_for(letters.topic, 1)
        (first,) = letters
        assert letters.replay(error=TimeoutError).done == 1
        log.wait_for(letters.topic, 2)
    (second,) = letters

    assert second.origin == first.origin == (name, 0, 0)
    assert (first.attempt, second.attempt) == (2, 2)
    assert letters.get(str(first.origin)) == second


@pytest.mark.parametrize("by", ["expires", "age_limit"])
def test_it_is_handled_however_late_it_is(make_app: Callable[..., elsa.App], topic: Topics, log: Log, by: str) -> None:
    app, name = make_app(), topic()
    seen: Seen[int] = Seen()
    seconds = 0.05
    expires: dict[str, Any] = {}
    if by == "expires":
        expires = {"expires": seconds, "on_expired": "dead_letter"}
    else:
        app.middleware(*age_limit(seconds, dead_letter=True))

    # by way of the delay topics it is older than that again
    @app.handler(name, retry=elsa.Retry(base=0.5, jitter=False, where="topic"), **expires)
    def bill(body: str, ctx: elsa.Context) -> None:
        seen(ctx.attempt)
        if ctx.attempt == 1:
            raise TimeoutError("the bank is away")

    app.produce(name, ["x"])
    over = time.time() + seconds
    until(lambda: time.time() > over, "it has expired")
    letters = app.dead_letters(name, group=app.name)
    with app:
        log.wait_for(letters.topic, 1)
        assert seen.items == []
        letters.replay()
        assert seen.wait(2, 40) == [1, 2]


def test_a_handler_without_a_group_needs_a_topic(app: elsa.App, topic: Topics, log: Log) -> None:
    name, other = topic(), topic()

    @app.handler(name, group=None, start="earliest")
    def tail(body: str) -> None:
        raise elsa.Reject("no")

    app.produce(name, ["x"])
    letters = app.dead_letters(name, group=None)
    with app:
        log.wait_for(letters.topic, 1)

    assert letters.replay().done == 0
    assert letters.replay(to=other).done == 1
    assert [message.value for message in log.read(other)] == [b"x"]
