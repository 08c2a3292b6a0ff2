"""What a handler sends is confirmed before its message is finished; a send that is refused fails the call."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen, stays

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker

FAST = elsa.Retry(max_attempts=2, base=0, jitter=False)


@pytest.mark.parametrize("result", [None, "skip", elsa.DEFER])
def test_the_offset_waits_for_the_confirmation(
    app: elsa.App, topic: Topics, log: Log, monkeypatch: pytest.MonkeyPatch, result: Any
) -> None:
    name, out = topic(), topic()
    seen: Seen[elsa.Context] = Seen()
    gate = threading.Event()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> Any:
        ctx.send(out, body)
        seen(ctx)
        if result == "skip":
            raise elsa.Skip
        return result

    real = elsa.Delivery.__call__

    def late(self: elsa.Delivery, error: Any, message: Any) -> None:
        # the confirmation is on its way for a while
        if self.topic == out:
            gate.wait(20)
        real(self, error, message)

    app.produce(name, "x")
    app.producer.warm_up(out)
    monkeypatch.setattr(elsa.Delivery, "__call__", late)
    with app:
        seen.wait(1)
        if result is elsa.DEFER:
            seen.items[0].ack()
        stays(lambda: log.committed(app.name, name) is None, 1.5, "nothing is committed")
        gate.set()
        log.wait_committed(app.name, name, 1)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_refused_send_fails_the_call(app: elsa.App, topic: Topics, log: Log, *, is_async: bool) -> None:
    name, out = topic(), topic(1, {"max.message.bytes": "1000"})
    seen: Seen[tuple[str, int]] = Seen()

    @app.handler(out, group=f"{app.name}-out", name="out")
    def receive(body: str) -> None: ...

    def work(body: str, ctx: elsa.Context) -> None:
        seen((body, ctx.attempt))
        if body == "large":
            receive.send("x" * 2_000)

    if is_async:

        @app.handler(name, retry=FAST)
        async def handle(body: str, ctx: elsa.Context) -> None:
            work(body, ctx)
    else:
        app.handler(name, retry=FAST)(work)

    app.produce(name, ["small", "large", "end"])
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
        log.wait_committed(app.name, name, 3)

    assert [attempt for body, attempt in seen.items if body == "large"] == [1, 2]
    assert dead.value == b"large"
    assert b"MessageTooLarge" in (dead.header("elsa-error-type") or b"")
    assert log.read(out) == []


def test_a_send_to_no_topic_fails_the_call_at_once(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()

    @app.handler(name, retry=None)
    def handle(body: str, ctx: elsa.Context) -> None:
        ctx.send(f"{name}-absent", body)

    app.produce(name, "x")
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)

    assert dead.header("elsa-error-type") == b"elsa.errors.UnknownTopic"
