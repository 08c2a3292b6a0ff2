"""Case 27: DEFER frees lane and slot but counts against `max_in_flight`; `ctx.ack` from any thread finishes it.

The acknowledging thread may well be faster than the handler that hands the message to it.
"""

from __future__ import annotations

import resource
import threading
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.errors import NotAssigned

from .waiting import Log, Seen, stays

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_the_window_bounds_what_is_deferred_and_acks_make_it_flow(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[elsa.Context] = Seen()

    @app.handler(name, max_in_flight=5)
    def handle(body: str, ctx: elsa.Context) -> object:
        seen(ctx)
        return elsa.DEFER

    app.produce(name, [str(n) for n in range(20)])
    with app:
        seen.wait(5)
        before = resource.getrusage(resource.RUSAGE_SELF)
        stays(lambda: len(seen) == 5, 1.0, "the window")
        after = resource.getrusage(resource.RUSAGE_SELF)
        assert log.committed(app.name, name) is None
        for context in seen.items:
            context.ack()
        for context in seen.wait(10)[5:10]:
            context.ack()
        for context in seen.wait(15)[10:15]:
            context.ack()
        for context in seen.wait(20)[15:20]:
            context.ack()
        log.wait_committed(app.name, name, 20)

    # a full window is waited for, not polled in a busy loop
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 0.8
    assert [context.offset for context in seen.items] == list(range(20))


def test_an_ack_that_is_faster_than_its_handler(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    failed: Seen[BaseException] = Seen()

    @app.handler(name)
    def handle(body: str, ctx: elsa.Context) -> object:
        def work() -> None:
            try:
                ctx.ack()
            except BaseException as error:
                failed(error)

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        return elsa.DEFER

    app.produce(name, [str(n) for n in range(10)])
    with app:
        log.wait_committed(app.name, name, 10)

    assert failed.items == []


def test_out_of_order_acks_commit_the_finished_prefix(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()
    seen: Seen[elsa.Context] = Seen()

    @app.handler(name)
    async def handle(body: str, ctx: elsa.Context) -> object:
        seen(ctx)
        return elsa.DEFER

    app.produce(name, ["0", "1", "2", "3"])
    with app:
        contexts = seen.wait(4)
        contexts[1].ack()
        contexts[0].ack()
        contexts[3].ack()
        log.wait_committed(app.name, name, 2)
        with pytest.raises(NotAssigned, match="is not deferred"):
            contexts[3].ack()
        contexts[2].ack()
        log.wait_committed(app.name, name, 4)


def test_what_is_deferred_at_a_stop_comes_again(app: elsa.App, topic: Topics, log: Log, make_app: object) -> None:
    name = topic()
    seen: Seen[elsa.Context] = Seen()

    @app.handler(name, group=f"{app.name}-g")
    def handle(body: str, ctx: elsa.Context) -> object:
        seen(ctx)
        return elsa.DEFER

    app.produce(name, ["0", "1"])
    with app:
        contexts = seen.wait(2)
        contexts[0].ack()
    with pytest.raises(NotAssigned, match="not assigned here any more"):
        contexts[1].ack()

    assert log.committed(f"{app.name}-g", name) == 1
