"""`timeout=`: an async call is ended and tried again, then a dead letter; a sync call is told its deadline."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest

import elsa

from .waiting import Log, Seen

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_an_async_call_is_ended(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[str] = Seen()

    @app.handler(name, timeout=0.2, retry=elsa.Retry(max_attempts=2, base=0))
    async def handle(body: str) -> None:
        seen(body)
        if body == "slow":
            await asyncio.Event().wait()

    app.produce(name, ["slow", "quick"])
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
        log.wait_committed(app.name, name, 2)

    assert seen.items == ["slow", "slow", "quick"]
    assert (dead.value, dead.header("elsa-reason")) == (b"slow", b"timeout")


def test_a_sync_call_is_told(app: elsa.App, topic: Topics) -> None:
    name = topic()
    seen: Seen[float] = Seen()

    @app.handler(name, timeout=30)
    def handle(body: str, ctx: elsa.Context) -> None:
        assert ctx.deadline is not None
        seen(ctx.deadline - time.monotonic())

    app.produce(name, "x")
    with app:
        assert 25 < seen.wait(1)[0] <= 30
