"""Who has much to do, or hangs, never keeps the places or the room in memory from the others.

A partition with a huge backlog does not delay a trickle on another one, whatever the ordering. A handler whose calls
all hang, in more partitions than the whole process may hold messages of, stops neither another handler nor another
group: what it may hold is bounded, and a reserve stays for those who hold little.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Log, Seen, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("ordering", ["key", "none"])
def test_a_huge_backlog_does_not_delay_a_trickle_beside_it(
    app: elsa.App, topic: Topics, ordering: str, *, is_async: bool
) -> None:
    """Two places, and 4,000 messages that want them: each of the trickle runs while most of the backlog still waits."""
    name = topic(2)
    hot: Seen[None] = Seen()
    trickle: Seen[int] = Seen()

    def note(ctx: elsa.Context) -> None:
        if ctx.partition == 0:
            hot(None)
        else:
            trickle(len(hot))

    options: dict[str, Any] = {"ordering": ordering, "concurrency": 2}
    if is_async:

        @app.handler(name, **options)
        async def handle(body: str, ctx: elsa.Context) -> None:
            await asyncio.sleep(0.002)
            note(ctx)
    else:

        @app.handler(name, **options)
        def handle_sync(body: str, ctx: elsa.Context) -> None:
            time.sleep(0.002)
            note(ctx)

    app.produce(name, [elsa.Record("hot", key=f"k{n}", partition=0) for n in range(4_000)])
    with app:
        hot.wait(100)
        delays = []
        for number in range(5):
            before = len(hot)
            app.produce(name, elsa.Record("trickle", key="k", partition=1))
            delays.append(trickle.wait(number + 1)[-1] - before)

        # the whole backlog would be thousands; some hundred pass while the message travels
        print(f"handled of the backlog meanwhile: {delays}")
        assert max(delays) < 600
        assert len(hot) < 3_000


@pytest.mark.parametrize("is_async", [False, True])
def test_a_handler_that_hangs_starves_neither_another_handler_nor_another_group(
    make_app: Callable[..., elsa.App], topic: Topics, log: Log, *, is_async: bool
) -> None:
    """Twelve partitions of 100 messages each want to be held, of which the process may hold 1,000."""
    app = make_app(max_in_flight=100, max_in_flight_process=1_000, drain_timeout=0.2)
    stuck, other, group = topic(12), topic(3), f"{app.name}-group"
    hanging: Seen[int] = Seen()
    ends = threading.Event()
    same, also = Seen[str](), Seen[int]()

    if is_async:

        @app.handler(stuck, ordering="none", concurrency=5_000)
        async def hang(body: str, ctx: elsa.Context) -> None:
            hanging(ctx.partition)
            await asyncio.sleep(60)
    else:

        @app.handler(stuck, ordering="none", concurrency=20)
        def hang_sync(body: str, ctx: elsa.Context) -> None:
            hanging(ctx.partition)
            ends.wait(60)

    @app.handler(other, ordering="none", name="other")
    async def handle(body: str) -> None:
        same(body)

    @app.handler(stuck, ordering="key", group=group, name="same topic")
    def handle_also(body: str, ctx: elsa.Context) -> None:
        also(ctx.partition)

    app.produce(stuck, [elsa.Record(str(n), partition=n % 12) for n in range(1_800)])
    with app:
        hanging.wait(20)
        until(
            lambda: sum(s.in_progress for s in app._runtime.snapshots() if s.group == app.name) >= 800,
            "as much is held as may be",
        )
        app.produce(other, [elsa.Record(str(n), partition=n % 3) for n in range(3_000)])
        same.wait(3_000)
        also.wait(1_800)
        held = {
            s.partition: s.in_progress for s in app._runtime.snapshots() if s.topic == stuck and s.group == app.name
        }
        for partition in range(3):
            log.wait_committed(app.name, other, 1_000, partition)
        for partition in range(12):
            log.wait_committed(group, stuck, 150, partition)
        ends.set()
        print(f"held: {held}")

    assert sum(held.values()) <= 1_000
    assert max(held.values()) <= 100
