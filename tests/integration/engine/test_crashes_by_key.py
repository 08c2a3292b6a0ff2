"""SystemExit in one of several calls of a partition: the others finish and count, and only what is left runs again.

The partition starts anew with growing pauses. What crashes it again and again halts it in the end, also when two
messages do so in turns; every other partition goes on meanwhile, and nothing becomes a dead letter.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.observe.metrics import PrometheusObserver
from elsa.worker import revival

from .waiting import Calls, Log, soon, total, until

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("is_async", [False, True])
def test_calls_beside_one_that_crashes_end_well_and_do_not_run_again(
    app: elsa.App, topic: Topics, log: Log, *, is_async: bool
) -> None:
    name = topic(2)
    calls = Calls()
    crashed, ends = threading.Event(), threading.Event()

    def crash(ctx: elsa.Context) -> None:
        if ctx.offset == 2 and not crashed.is_set():
            crashed.set()
            raise SystemExit(1)

    if is_async:

        @app.handler(name, ordering="key", concurrency=4)
        async def handle(body: str, ctx: elsa.Context) -> None:
            with calls.of(ctx):
                if ctx.partition == 0:
                    await soon(lambda: len(calls.begun) >= 4, "four calls have begun")
                crash(ctx)
                if ctx.partition == 0 and ctx.offset in (0, 1, 3):
                    await soon(ends.is_set, "they may end")
    else:

        @app.handler(name, ordering="key", concurrency=4)
        def handle_sync(body: str, ctx: elsa.Context) -> None:
            with calls.of(ctx):
                if ctx.partition == 0:
                    calls.wait_begun(4)
                crash(ctx)
                if ctx.partition == 0 and ctx.offset in (0, 1, 3):
                    ends.wait(20)

    app.produce(name, [elsa.Record(str(n), key=f"k{n}", partition=0) for n in range(30)])
    with app:
        assert crashed.wait(20)
        until(lambda: {s.partition: s.paused for s in app._runtime.snapshots()}.get(0) == "restarting", "it is down")
        # three of its calls still run: nothing begins before they have ended, and the other partition does not wait
        app.produce(name, [elsa.Record("other", key="k", partition=1)])
        log.wait_committed(app.name, name, 1, 1)
        begun = [one.offset for one in calls.items if not one.is_end and one.partition == 0]
        ends.set()
        log.wait_committed(app.name, name, 30, 0)

    again = [one for one in calls.items if not one.is_end and one.partition == 0]
    assert sorted(begun) == [0, 1, 2, 3]
    assert sorted(one.offset for one in again) == sorted([*range(30), 2])
    assert {one.attempt for one in again} == {1}
    assert log.partitions(f"{name}.{app.name}.dlq") == 0


def test_messages_that_crash_it_in_turns_halt_the_partition_and_no_other(
    app: elsa.App, topic: Topics, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revival, "MOST_CRASHES", 2)
    name = topic(2)
    observer = app.observer = PrometheusObserver()
    calls = Calls()
    #: who is the next to bring it down
    turns = [3, 7]

    @app.handler(name, ordering="key", concurrency=4)
    async def handle(body: str, ctx: elsa.Context) -> None:
        with calls.of(ctx):
            if ctx.partition == 0 and ctx.offset in turns:
                await soon(lambda: ctx.offset == turns[0] or ctx.is_stopping, "it is this one's turn")
                if not ctx.is_stopping:
                    turns.reverse()
                raise SystemExit(1)

    app.produce(name, [elsa.Record(str(n), key=f"k{n}", partition=0) for n in range(20)])
    with app:
        until(lambda: {s.partition: s.paused for s in app._runtime.snapshots()}.get(0) == "halted", "it is halted")
        app.produce(name, [elsa.Record(str(n), key=f"k{n}", partition=1) for n in range(20)])
        log.wait_committed(app.name, name, 20, 1)
        assert total(observer, "elsa_partitions_halted_total") == 1
        assert 4 <= total(observer, "elsa_restarts_total", what="partition") <= 5
        until(
            lambda: (found := log.progress(app.name, name)) is not None and all(map(found.is_done, (4, 5, 6))),
            "the commit tells what was done between them",
        )

    assert log.committed(app.name, name, 0) == 3
    runs = [one.offset for one in calls.items if not one.is_end and one.partition == 0]
    assert {offset for offset in runs if runs.count(offset) > 1} == {3, 7}
    assert log.partitions(f"{name}.{app.name}.dlq") == 0
