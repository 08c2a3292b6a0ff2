"""`ordering="key"` together with DEFER, CONTINUE, state, middleware and hooks.

A deferred message frees its key. CONTINUE means "everything up to the next acknowledgement", which needs one order for
all, so it is refused where there is none. A class has one state object for each partition, used by several calls at
once, and `teardown` and the revoke hook come after the last of them.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import elsa

from .waiting import Calls, Log, Seen, soon

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_a_deferred_message_frees_its_key_and_is_finished_from_any_thread(
    app: elsa.App, topic: Topics, log: Log
) -> None:
    name = topic()
    calls = Calls()
    deferred: Seen[elsa.Context] = Seen()

    @app.handler(name, ordering="key", concurrency=4, max_in_flight=15)
    async def handle(body: str, ctx: elsa.Context) -> Any:
        with calls.of(ctx):
            await asyncio.sleep(0)
        if int(body) % 2:
            return None
        deferred(ctx)
        return elsa.DEFER

    app.produce(name, [elsa.Record(str(n), key="ab"[n // 2 % 2]) for n in range(40)])
    with app:
        # those in between are done, and the window is full of deferred ones
        contexts = deferred.wait(15)
        calls.wait_for(lambda items: sum(one.is_end for one in items) >= 29, "those between them")
        assert log.committed(app.name, name) in (None, 0)
        for context in reversed(contexts):
            thread = threading.Thread(target=context.ack)
            thread.start()
            thread.join()
        for context in deferred.wait(20)[15:]:
            context.ack()
        log.wait_committed(app.name, name, 40)

    calls.check_keys()
    assert sorted(calls.begun) == list(range(40))


@pytest.mark.parametrize("ordering", ["key", "none"])
def test_continue_is_refused_where_there_is_no_one_order(app: elsa.App, topic: Topics, log: Log, ordering: str) -> None:
    name = topic()

    @app.handler(name, ordering=ordering, retry=None)
    def handle(body: str) -> Any:
        return elsa.CONTINUE if body == "1" else elsa.ACK

    app.produce(name, [elsa.Record(str(n), key=f"k{n}") for n in range(3)])
    with app:
        (dead,) = log.wait_for(f"{name}.{app.name}.dlq", 1)
        log.wait_committed(app.name, name, 3)

    text = (dead.header("elsa-error-message") or b"").decode()
    assert (dead.value, dead.key) == (b"1", b"k1")
    assert f"returned CONTINUE with ordering='{ordering}'" in text
    assert 'use ordering="partition", or DEFER and ctx.ack()' in text


@pytest.mark.parametrize("is_async", [False, True])
def test_one_state_serves_several_calls_and_is_torn_down_after_the_last(
    app: elsa.App, topic: Topics, *, is_async: bool
) -> None:
    """Middleware is around each call, and the hook of the revoke comes last of all."""
    name = topic(2)
    order: Seen[tuple[str, int]] = Seen()
    inside: Seen[int] = Seen()
    calls = Calls()

    def sync(call_next: Any, ctx: elsa.Context) -> Any:
        inside(ctx.offset)
        result = call_next()
        inside(-ctx.offset)
        return result

    async def coroutine(call_next: Any, ctx: elsa.Context) -> Any:
        inside(ctx.offset)
        result = await call_next()
        inside(-ctx.offset)
        return result

    app.middleware(sync, coroutine)
    app.on_assigned(lambda ctx: order(("assigned", ctx.partition)))
    app.on_revoked(lambda partitions: order(("revoked", -1)))

    class State:
        def __init__(self) -> None:
            self.partition = -1

        def begin(self, ctx: elsa.Context) -> None:
            # the body's partition is the state's: nobody is given another partition's state
            assert ctx.partition == self.partition
            order(("handle", ctx.partition))

        def end(self, ctx: elsa.Context) -> None:
            order(("handled", ctx.partition))

    if is_async:

        @app.handler(name, ordering="key", concurrency=8, name="c")
        class Async(State):
            async def setup(self, ctx: elsa.Context) -> None:
                await asyncio.sleep(0)
                self.partition = ctx.partition
                order(("setup", ctx.partition))

            async def handle(self, body: str, ctx: elsa.Context) -> None:
                self.begin(ctx)
                with calls.of(ctx):
                    await soon(lambda: len(calls.begun) >= 4, "four calls run")
                self.end(ctx)

            async def teardown(self) -> None:
                order(("teardown", self.partition))
    else:

        @app.handler(name, ordering="key", concurrency=8, name="c")
        class Sync(State):
            def setup(self, ctx: elsa.Context) -> None:
                self.partition = ctx.partition
                order(("setup", ctx.partition))

            def handle(self, body: str, ctx: elsa.Context) -> None:
                self.begin(ctx)
                with calls.of(ctx):
                    calls.wait_begun(4)
                self.end(ctx)

            def teardown(self) -> None:
                order(("teardown", self.partition))

    app.produce(name, [elsa.Record(str(n), key=f"k{n}", partition=p) for p in (0, 1) for n in range(1, 4)])
    with app:
        # a stop that comes while calls are running
        calls.wait_begun(4)

    seen = order.items
    assert calls.most_at_once() >= 4
    for partition in (0, 1):
        mine = [what for what, where in seen if where == partition]
        assert mine[:2] == ["assigned", "setup"]
        assert mine[-1] == "teardown"
        assert mine.count("setup") == mine.count("teardown") == 1
        assert mine.count("handle") == mine.count("handled") >= 1
    assert seen[-1] == ("revoked", -1)
    assert sum(inside.items) == 0
