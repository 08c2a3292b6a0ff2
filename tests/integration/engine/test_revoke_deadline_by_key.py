"""At a revoke all running calls of a partition share one deadline; who is still running then is cut off.

Calls on the event loop are cancelled. Threads cannot be: they are abandoned, and what they come to later is fenced off,
ignored and counted, since their messages are another worker's by then.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.observe.metrics import PrometheusObserver

from .waiting import Calls, Log, Seen, total, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from elsa.testing.kafka import Groups, Topics

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("is_async", [False, True])
def test_several_running_calls_are_cut_off_together(
    make_app: Callable[..., elsa.App],
    topic: Topics,
    group: Groups,
    log: Log,
    caplog: pytest.LogCaptureFixture,
    *,
    is_async: bool,
) -> None:
    """Five calls hang in each of two partitions; another worker takes one of them over."""
    name, members = topic(2), group()
    first, second = make_app(drain_timeout=1), make_app()
    observer = first.observer = PrometheusObserver()
    calls, taken = Calls(), Calls()
    cancelled: Seen[int] = Seen()
    ends, ended = threading.Event(), Seen[int]()
    options: dict[str, Any] = {"group": members, "ordering": "key", "concurrency": 12}

    if is_async:

        @first.handler(name, **options)
        async def handle(body: str, ctx: elsa.Context) -> None:
            with calls.of(ctx):
                if body != "hang":
                    return
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    cancelled(ctx.partition)
                    raise
    else:

        @first.handler(name, **options)
        def handle_sync(body: str, ctx: elsa.Context) -> None:
            with calls.of(ctx):
                if body == "hang":
                    ends.wait(60)
            ended(ctx.partition)

    @second.handler(name, group=members, ordering="key", name="second")
    def take(body: str, ctx: elsa.Context) -> None:
        with taken.of(ctx):
            """It is fine."""

    bodies = ["hang", "fine"] * 5
    first.produce(name, [elsa.Record(b, key=f"k{n}", partition=p) for p in (0, 1) for n, b in enumerate(bodies)])
    with first:
        calls.wait_for(lambda items: sum(one.is_end for one in items) == 10, "those that are fine")
        with second:
            moved = taken.wait(10)[0].partition
            log.wait_committed(members, name, 10, moved)
            if is_async:
                assert cancelled.wait(5) == [moved] * 5
            else:
                assert total(observer, "elsa_stale_results_total") == 0
            # the partition that stayed has noticed nothing: the same calls are running
            kept = 1 - moved
            running = [one for one in first._runtime.running(with_stacks=False) if one["partition"] == kept]
            assert sorted(one["offset"] for one in running) == [0, 2, 4, 6, 8]
            assert {one["attempt"] for one in running} == {1}
            ends.set()
            if not is_async:
                ended.wait(20)
                until(lambda: total(observer, "elsa_stale_results_total") == 5, "late results are counted")
                log.wait_committed(members, name, 10, kept)

    # what had hung, and nothing else
    assert sorted(taken.begun) == [0, 2, 4, 6, 8]
    cut_off = [one.__dict__ for one in caplog.records if one.__dict__.get("event") == "drain_timeout"]
    assert {(one["partition"], one["offset"]) for one in cut_off} >= {(moved, offset) for offset in (0, 2, 4, 6, 8)}
    assert log.committed(members, name, moved) == 10
