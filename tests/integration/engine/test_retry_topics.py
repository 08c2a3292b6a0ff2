"""`where="topic"`: what failed waits in a delay topic and comes back to its group alone, through a topic of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.delays import topics as delay_topics
from elsa.names import delay_topic

from .waiting import Log, Seen, add_partitions

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker

SOON = elsa.Retry(max_attempts=3, base=0.5, factor=1, jitter=False, where="topic")


def test_others_pass_and_the_message_comes_back_to_its_group_alone(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    app, name = make_app(), topic(3)
    seen: Seen[Any] = Seen()
    other: Seen[int] = Seen()

    @app.handler(name, group=f"{app.name}-a", retry=SOON)
    def handle(body: int, ctx: elsa.Context) -> None:
        seen((body, ctx.attempt, ctx.topic, ctx.partition, ctx.offset, ctx.key))
        if body == 0 and ctx.attempt < 3:
            raise ValueError

    @app.handler(name, group=f"{app.name}-b")
    def watch(body: int) -> None:
        other(body)

    app.produce(name, [elsa.Record(str(n).encode(), key="k", partition=2) for n in range(4)])
    with app:
        found = seen.wait(6, 40)
        other.wait(4)
        log.wait_committed(f"{app.name}-a", name, 4, partition=2)

    assert [one[:2] for one in found] == [(0, 1), (1, 1), (2, 1), (3, 1), (0, 2), (0, 3)]
    assert {one[2:] for one in found if one[0] == 0} == {(name, 2, 0, b"k")}
    assert sorted(other.items) == [0, 1, 2, 3]
    retry = f"{name}.{app.name}-a.retry"
    assert app.topics.partition_count(retry) == 3
    assert [copy.partition for copy in log.read(retry)] == [2, 2]
    # nothing was written back to the user's topic
    assert len(log.read(name)) == 4


def test_a_message_of_a_new_partition_comes_back(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, brokers: str
) -> None:
    """The mover knew the retry topic as it was before its source grew: the message became a dead letter."""
    app, name = make_app(), topic(1)
    seen: Seen[Any] = Seen()

    # longer than topics and partitions take to be made: what is due goes straight to the retry topic
    @app.handler(name, retry=elsa.Retry(base=5, jitter=False, where="topic"))
    def handle(body: int, ctx: elsa.Context) -> None:
        seen((body, ctx.partition, ctx.attempt))
        if ctx.attempt < 2:
            raise ValueError

    app.produce(name, [elsa.Record(b"0", partition=0)])
    with app:
        seen.wait(2, 40)
        add_partitions(brokers, name, 2)
        app.producer.warm_up(name)
        app.produce(name, [elsa.Record(b"1", partition=1)])
        seen.wait(4, 40)

    assert seen.items == [(0, 0, 1), (0, 0, 2), (1, 1, 1), (1, 1, 2)]
    assert log.partitions(f"{name}.{app.name}.retry") == 2


def test_what_waits_in_the_retry_topic_before_the_first_worker_came_is_not_lost(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    """Wherever the handler wants to begin in its topic."""
    app, name = make_app(), topic()
    seen: Seen[Any] = Seen()

    @app.handler(name, start="latest", retry=SOON)
    def handle(body: int, ctx: elsa.Context) -> None:
        seen((body, ctx.attempt, ctx.offset))

    retry = f"{name}.{app.name}.retry"
    app.topics.create(retry, partitions=1)
    app.produce(name, [b"1"])
    app.produce(retry, [elsa.Record(b"1", headers={"elsa-origin": f"{name}:0:0", "elsa-attempt": "1"})])
    with app:
        seen.wait(1)
        log.wait_committed(app.name, retry, 1)

    assert seen.items == [(1, 2, 0)]


def test_what_has_had_its_last_attempt_is_a_dead_letter_of_its_source(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    app, name = make_app(), topic()

    @app.handler(name, retry=elsa.Retry(max_attempts=2, base=0.2, jitter=False, where="topic"))
    def handle(body: str) -> None:
        raise ValueError(body)

    app.produce(name, [elsa.Record(b"bad", key="k", headers={"mine": "1"})])
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)

    assert (dead.key, dead.value, dead.header("mine")) == (b"k", b"bad", b"1")
    assert dead.header("elsa-origin") == f"{name}:0:0".encode()
    assert (dead.header("elsa-attempt"), dead.header("elsa-error-message")) == (b"2", b"bad")
    assert dead.header("elsa-target") is None


def test_a_message_that_no_delay_topic_takes_is_a_dead_letter(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log
) -> None:
    """Better given up than held for ever."""
    app, name = make_app(), topic()

    @app.handler(name, retry=elsa.Retry(base=30, jitter=False, where="topic"))
    def handle(body: bytes) -> None:
        raise ValueError

    delay_topics.create(app)
    app.topics.alter(delay_topic(app.name, 16), {"max.message.bytes": "1000"})
    # nothing that could be compressed
    body = os.urandom(2_000)
    app.produce(name, [body])
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
        log.wait_committed(app.name, name, 1)

    assert dead.value == body
    assert dead.header("elsa-attempt") == b"1"
