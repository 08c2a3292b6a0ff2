"""`max_in_flight` bounds what a handler has in hand, whatever the backlog, and nothing is lost by pausing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from .waiting import Log, Seen

if TYPE_CHECKING:
    import elsa
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_a_backlog_waits_in_kafka(app: elsa.App, topic: Topics, log: Log) -> None:
    name, backlog = topic(), 12_000
    seen: Seen[int] = Seen()
    most: Seen[tuple[int, int, str | None]] = Seen()

    @app.handler(name, max_in_flight=20)
    async def handle(body: int) -> None:
        seen(body)
        if body % 500 == 0:
            await asyncio.sleep(0.002)

    app.produce(name, [b"%-1000d" % n for n in range(backlog)])
    with app:
        while len(seen) < backlog:
            for snapshot in app._runtime.snapshots():
                most((snapshot.in_progress, snapshot.buffered, snapshot.paused))
            seen.wait(min(backlog, len(seen) + 2_000), 60)
        log.wait_committed(app.name, name, backlog)

    assert seen.items == list(range(backlog))
    assert max(in_progress for in_progress, _, _ in most.items) <= 20
    # what was received beyond that is a megabyte or two, not the backlog
    assert max(buffered for _, buffered, _ in most.items) <= 6_000
