"""Batch handlers: sizes and waits, what a BatchError or ack_through finishes, who is blamed when all attempts fail."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker

FAST = elsa.Retry(max_attempts=2, base=0, jitter=False)


def test_batches_are_full_or_wait_and_come_from_one_partition(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(2)
    seen: Seen[tuple[list[str], set[int], list[int]]] = Seen()

    @app.handler(name, batch=4, batch_wait=0.3)
    def handle(bodies: list[str], ctx: elsa.Context) -> None:
        messages = ctx.messages
        seen((bodies, {m.partition for m in messages}, [m.offset for m in messages]))

    app.produce(name, [elsa.Record(f"{p}-{n}", partition=p) for p in (0, 1) for n in range(6)])
    with app:
        seen.wait_for(lambda items: sum(len(i[0]) for i in items) == 12, "all messages")
        log.wait_committed(app.name, name, 6, 0)
        log.wait_committed(app.name, name, 6, 1)

    for bodies, partitions, offsets in seen.items:
        assert len(partitions) == 1
        assert bodies == [f"{min(partitions)}-{offset}" for offset in offsets]
        assert len(bodies) <= 4
    for partition in (0, 1):
        assert [o for _, p, offsets in seen.items if p == {partition} for o in offsets] == list(range(6))


def test_a_batch_that_is_not_full_waits_that_long(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen: Seen[list[str]] = Seen()

    @app.handler(name, batch=10, batch_wait=0.6)
    async def handle(bodies: list[str]) -> None:
        seen(bodies)

    with app:
        assert app.wait_ready()
        began = time.monotonic()
        app.produce(name, "a")
        app.produce(name, "b")
        assert seen.wait(1) == [["a", "b"]]
        assert time.monotonic() - began >= 0.6


@pytest.mark.parametrize("is_async", [False, True])
def test_an_exhausted_batch_blames_exactly_the_guilty_member(
    app: elsa.App, topic: Topics, log: Log, *, is_async: bool
) -> None:
    name = topic()
    seen: Seen[list[str]] = Seen()

    def work(bodies: list[str]) -> None:
        seen(bodies)
        if "bad" in bodies:
            raise ValueError("one of them is bad")

    if is_async:

        @app.handler(name, batch=5, batch_wait=0.5, retry=FAST)
        async def handle(bodies: list[str]) -> None:
            work(bodies)
    else:
        app.handler(name, batch=5, batch_wait=0.5, retry=FAST)(work)

    app.produce(name, ["a", "b", "bad", "c", "d"])
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
        log.wait_committed(app.name, name, 5)
        assert seen.items == [["a", "b", "bad", "c", "d"]] * 2 + [["a"], ["b"], ["bad"], ["c"], ["d"]]
        # and batches are batches again
        app.produce(name, ["e", "f", "g"])
        assert seen.wait(8)[7:] == [["e", "f", "g"]]

    assert (dead.value, dead.header("elsa-origin")) == (b"bad", f"{name}:0:2".encode())


def test_a_batch_error_finishes_what_came_before_it(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[list[str]] = Seen()

    @app.handler(name, batch=4, batch_wait=0.5, retry=FAST)
    def handle(bodies: list[str]) -> None:
        seen(bodies)
        if "bad" in bodies:
            raise elsa.BatchError(bodies.index("bad"), ValueError("this one"))

    app.produce(name, ["a", "bad", "c", "d"])
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
        log.wait_committed(app.name, name, 4)

    assert seen.items == [["a", "bad", "c", "d"], ["bad", "c", "d"], ["c", "d"]]
    assert dead.value == b"bad"
    assert dead.header("elsa-error-message") == b"this one"


def test_sends_of_a_partial_batch_are_confirmed_before_its_offset(app: elsa.App, topic: Topics, log: Log) -> None:
    name, out = topic(), topic(1, {"max.message.bytes": "1000"})
    seen: Seen[int] = Seen()

    @app.handler(name, batch=3, batch_wait=0.5, retry=FAST)
    def handle(bodies: list[str], ctx: elsa.Context) -> Any:
        seen(ctx.attempt)
        if len(seen) == 1:
            # the broker refuses it, after this call has returned
            ctx.send(out, "x" * 2_000)
            return elsa.ack_through(ctx.messages[1].offset)
        return elsa.ACK

    app.produce(name, ["a", "b", "c"])
    with app:
        log.wait_committed(app.name, name, 3)

    # a and b came again because what their call had sent was refused
    assert seen.items[0] == 1
    assert 2 in seen.items
