"""Case 38: a message that always fails is tried with growing pauses, then it is a dead letter and the offset goes on.

Its partition keeps its order meanwhile, others and the thread that ran it are free.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.kafka import probe

from .waiting import Log, Seen

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker

RETRY = elsa.Retry(max_attempts=3, base=0.2, factor=2, jitter=False)


@pytest.mark.parametrize("is_async", [False, True])
def test_poison_is_tried_and_put_aside(app: elsa.App, topic: Topics, log: Log, *, is_async: bool) -> None:
    name = topic(2)
    seen: Seen[tuple[str, int, int, float]] = Seen()

    def work(body: str, ctx: elsa.Context) -> None:
        seen((body, ctx.partition, ctx.attempt, time.monotonic()))
        if body == "poison":
            raise ValueError("never works")

    if is_async:

        @app.handler(name, name="h", retry=RETRY, concurrency=1)
        async def handle(body: str, ctx: elsa.Context) -> None:
            work(body, ctx)
    else:
        app.handler(name, name="h", retry=RETRY, concurrency=1)(work)

    headers = [("user", b"1"), ("user", b"2"), ("elsa-id", b"abc")]
    app.produce(
        name,
        [
            elsa.Record("before", partition=0),
            elsa.Record("poison", key="k", headers=headers, partition=0),
            elsa.Record("after", partition=0),
        ],
    )
    with app:
        seen.wait_for(lambda items: any(i[0] == "poison" for i in items), "the first attempt")
        app.produce(name, elsa.Record("other", partition=1))
        seen.wait(6)
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
        log.wait_committed(app.name, name, 3, 0)

    ours = [(body, attempt) for body, partition, attempt, _ in seen.items if partition == 0]
    assert ours == [("before", 1), ("poison", 1), ("poison", 2), ("poison", 3), ("after", 1)]
    first, second, third = (at for body, _, _, at in seen.items if body == "poison")
    assert second - first >= 0.2
    assert third - second >= 0.4
    # one thread, and it was free for the other partition while the poison waited
    other = next(at for body, _, _, at in seen.items if body == "other")
    assert other < third
    assert (dead.key, dead.value) == (b"k", b"poison")
    assert dead.headers[:3] == tuple(headers)
    found: dict[str, Any] = dict(dead.headers)
    assert found["elsa-origin"] == f"{name}:0:1".encode()
    assert found["elsa-error-type"] == b"builtins.ValueError"
    assert found["elsa-error-message"] == b"never works"
    assert b"ValueError: never works" in found["elsa-traceback"]
    assert (found["elsa-attempt"], found["elsa-handler"], found["elsa-reason"]) == (b"3", b"h", b"exhausted")


def test_the_dead_letter_topic_is_made_like_its_source(app: elsa.App, topic: Topics, log: Log, brokers: str) -> None:
    name = topic(3, {"max.message.bytes": "2000000"})

    @app.handler(name, retry=None)
    def handle(body: bytes) -> None:
        raise ValueError

    app.produce(name, elsa.Record(b"x" * 1_900_000, key="k"))
    with app:
        log.wait_for(f"{name}.{app.name}.dlq", 1)

    assert log.partitions(f"{name}.{app.name}.dlq") == 3
    config = probe.topic_config(brokers, f"{name}.{app.name}.dlq")
    assert config["retention.ms"] == str(30 * 24 * 3600 * 1000)
    assert config["max.message.bytes"] == str(2_000_000 + 64 * 1024)


def test_reject_skip_and_retry_later(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[tuple[str, int]] = Seen()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> None:
        seen((body, ctx.attempt))
        if body == "reject":
            raise elsa.Reject("no good")
        if body == "skip":
            raise elsa.Skip("not ours")
        if body == "later" and ctx.attempt == 1:
            raise elsa.RetryLater(0.1)

    app.produce(name, ["reject", "skip", "later", "end"])
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
        log.wait_committed(app.name, name, 4)

    assert seen.items == [("reject", 1), ("skip", 1), ("later", 1), ("later", 2), ("end", 1)]
    assert (dead.value, dead.header("elsa-error-message")) == (b"reject", b"no good")


def test_on_exhausted_skip_writes_no_dead_letter(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()

    @app.handler(name, retry=None, on_exhausted="skip")
    def handle(body: str) -> None:
        raise ValueError

    app.produce(name, ["a", "b"])
    with app:
        log.wait_committed(app.name, name, 2)

    assert log.partitions(f"{name}.{app.name}.dlq") == 0


def test_a_named_dead_letter_topic(app: elsa.App, topic: Topics, log: Log) -> None:
    name, dead = topic(), topic()

    @app.handler(name, retry=None, dead_letter=dead)
    def handle(body: str) -> None:
        raise ValueError

    app.produce(name, "a")
    with app:
        assert log.wait_for(dead, 1)[0].value == b"a"
