"""Class handlers: one instance per partition worker, set up before its first message, torn down after its last.

A `setup` that raises is tried again with growing pauses, and no other partition notices.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

import elsa

from .waiting import Log, Seen

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


@pytest.mark.parametrize("is_async", [False, True])
def test_setup_and_teardown_enclose_the_messages(app: elsa.App, topic: Topics, *, is_async: bool) -> None:
    name = topic()
    order: Seen[str] = Seen()

    if is_async:

        @app.handler(name, name="c")
        class Async:
            async def setup(self, ctx: elsa.Context) -> None:
                order(f"setup {ctx.group == app.name}")

            async def handle(self, body: str, ctx: elsa.Context) -> None:
                order(body)

            async def teardown(self) -> None:
                order("teardown")
    else:

        @app.handler(name, name="c")
        class Sync:
            def setup(self, ctx: elsa.Context) -> None:
                order(f"setup {ctx.group == app.name}")

            def handle(self, body: str, ctx: elsa.Context) -> None:
                order(body)

            def teardown(self) -> None:
                order("teardown")

    app.on_revoked(lambda _: order("revoked"))
    app.produce(name, ["a", "b"])
    with app:
        order.wait(3)

    assert order.items == ["setup True", "a", "b", "teardown", "revoked"]


def test_a_setup_that_raises_restarts_its_partition_alone(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(2)
    order: Seen[str] = Seen()
    tries = itertools.count(1)
    made = itertools.count(1)

    @app.handler(name)
    class Picky:
        def __init__(self) -> None:
            self.number = next(made)

        def setup(self, ctx: elsa.Context) -> None:
            self.is_bad = False

        def handle(self, body: str, ctx: elsa.Context) -> None:
            order(body)

        def teardown(self) -> None:
            order("teardown")

    @app.handler(name, group=f"{app.name}-picky")
    class Failing:
        def setup(self, ctx: elsa.Context) -> None:
            if next(tries) <= 2:
                order("setup fails")
                raise ConnectionError("the database is away")

        def handle(self, body: str, ctx: elsa.Context) -> None:
            order(f"failing {body}")

        def teardown(self) -> None:
            order("torn down")

    app.produce(name, elsa.Record("a", partition=0))
    with app:
        order.wait_for(lambda items: "failing a" in items, "the third setup")
        log.wait_committed(app.name, name, 1)
        log.wait_committed(f"{app.name}-picky", name, 1)
        before = order.items

    assert before.count("a") == 1
    # what was never set up was not torn down either
    assert before.count("setup fails") == 2
    assert "torn down" not in before
    assert order.items.count("torn down") == 1
