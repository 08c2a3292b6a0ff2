"""Middleware is an onion in the order of declaration, around every call, and may change what a call came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import DeclarationError

from .waiting import Log, Seen

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def test_the_onion_runs_around_handlers_of_both_kinds(app: elsa.App, topic: Topics, log: Log) -> None:
    one, two = topic(), topic()
    order: Seen[str] = Seen()

    def make(name: str) -> None:
        def sync(call_next: Any, ctx: elsa.Context) -> Any:
            order(f"{name} in")
            result = call_next()
            order(f"{name} out {result}")
            return result

        async def coroutine(call_next: Any, ctx: elsa.Context) -> Any:
            order(f"{name} in")
            result = await call_next()
            order(f"{name} out {result}")
            return result

        app.middleware(sync, coroutine)

    make("outer")
    make("inner")

    @app.handler(one)
    def handle(body: str) -> str:
        order(body)
        return "result"

    @app.handler(two)
    async def handle_async(body: str) -> str:
        order(body)
        return "result"

    expected = ["outer in", "inner in", "x", "inner out result", "outer out result"]
    with app:
        app.produce(one, "x")
        assert order.wait(5) == expected
        app.produce(two, "x")
        assert order.wait(10)[5:] == expected
        log.wait_committed(app.name, two, 1)


def test_a_middleware_that_raises_fails_the_call(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic()

    @app.middleware
    def refuse(call_next: Any, ctx: elsa.Context) -> Any:
        raise elsa.Reject("not today")

    @app.handler(name)
    def handle(body: str) -> None: ...

    app.produce(name, "x")
    with app:
        assert log.wait_for(f"{name}.{app.name}.dlq", 1)[0].header("elsa-error-message") == b"not today"


def test_a_middleware_of_the_other_kind_is_refused(app: elsa.App) -> None:
    @app.middleware
    def sync(call_next: Any, ctx: elsa.Context) -> Any:
        return call_next()

    with pytest.raises(DeclarationError, match="give the app both forms"):

        @app.handler("orders")
        async def handle(body: str) -> None: ...
