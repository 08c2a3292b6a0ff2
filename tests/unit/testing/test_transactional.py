"""`transactional=True` in the harness: what a call sends appears with its offset, or not at all."""

from __future__ import annotations

from typing import Any

import pytest

import elsa
from elsa.errors import DeclarationError


def kinds(t: Any) -> list[str]:
    return [one.outcome for one in t.outcomes]


@pytest.mark.parametrize("is_async", [False, True])
def test_what_a_call_sends_is_there_when_it_is_over(app: elsa.App, is_async: bool) -> None:  # noqa: FBT001
    def work(order: int, ctx: elsa.Context) -> None:
        ctx.send("invoices", order + 100, key="k", headers={"a": "1"})
        app.send("mails", order + 200)

    if is_async:

        @app.handler("orders", transactional=True)
        async def bill(order: int, ctx: elsa.Context) -> None:
            work(order, ctx)
    else:
        app.handler("orders", transactional=True)(work)

    with app.test() as t:
        t.send_many("orders", [1, 2])
        assert [m.json() for m in t.sent("invoices")] == [101, 102]
        assert [m.json() for m in t.sent("mails")] == [201, 202]
        assert t.sent("invoices")[0].key == b"k"
        assert t.committed("orders") == 2
        assert kinds(t) == ["ok", "ok"]


def test_what_a_failed_call_has_sent_is_dropped(app: elsa.App) -> None:
    @app.handler("orders", transactional=True, retry=elsa.Retry(max_attempts=3, base=5, jitter=False))
    def bill(order: int, ctx: elsa.Context) -> None:
        ctx.send("invoices", ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError

    with app.test(raise_errors=False) as t:
        t.send("orders", 1)
        assert t.sent("invoices") == []
        t.advance(5)
        t.advance(10)
        assert [m.json() for m in t.sent("invoices")] == [3]
        assert t.committed("orders") == 1


def test_a_dead_letter_comes_without_what_its_calls_have_sent(app: elsa.App) -> None:
    @app.handler("orders", transactional=True, retry=None)
    def bill(order: int, ctx: elsa.Context) -> None:
        ctx.send("invoices", order)
        raise ValueError

    with app.test(raise_errors=False) as t:
        t.send("orders", 1)
        assert len(t.dead_letters()) == 1
        assert t.sent("invoices") == []
        assert t.committed("orders") == 1


def test_a_refused_send_is_a_failed_attempt(app: elsa.App) -> None:
    seen: list[int] = []

    @app.handler("orders", transactional=True, retry=elsa.Retry(max_attempts=2, base=5, jitter=False))
    def bill(order: int, ctx: elsa.Context) -> None:
        seen.append(ctx.attempt)
        ctx.send("invoices", order)

    with app.test(raise_errors=False) as t:
        t.refuse("invoices", "TOPIC_AUTHORIZATION_FAILED")
        t.send("orders", 1)
        for _ in range(6):
            t.advance(20)
        assert len(t.dead_letters()) == 1
        assert t.sent("invoices") == []
        assert t.committed("orders") == 1
    assert len(seen) == 2


@pytest.mark.parametrize("option", ["skip", "dead_letter"])
def test_what_is_given_up_has_sent_nothing(app: elsa.App, option: Any) -> None:
    @app.handler("orders", transactional=True, retry=None, on_exhausted=option)
    def bill(order: int, ctx: elsa.Context) -> None:
        ctx.send("invoices", order)
        raise ValueError

    with app.test(raise_errors=False) as t:
        t.send("orders", 1)
        assert t.sent("invoices") == []
        assert t.committed("orders") == 1


def test_what_a_handler_skips_has_sent_what_it_sent(app: elsa.App) -> None:
    @app.handler("orders", transactional=True)
    def bill(order: int, ctx: elsa.Context) -> None:
        ctx.send("invoices", order)
        raise elsa.Skip

    with app.test() as t:
        t.send("orders", 1)
        assert [m.json() for m in t.sent("invoices")] == [1]
        assert kinds(t) == ["skipped"]
        assert t.committed("orders") == 1


def test_of_a_batch_only_the_guilty_one_is_given_up(app: elsa.App) -> None:
    seen: list[list[int]] = []

    @app.handler("orders", transactional=True, batch=4, batch_wait=0, retry=elsa.Retry(max_attempts=2, base=1))
    def bill(orders: list[int], ctx: elsa.Context) -> None:
        seen.append(orders)
        for order in orders:
            ctx.send("refused" if order == 3 else "fine", order)

    with app.test(raise_errors=False) as t:
        t.refuse("refused")
        t.send_many("orders", [1, 2, 3, 4])
        for _ in range(10):
            t.advance(20)
        assert [dead.message.json() for dead in t.dead_letters()] == [3]
        assert [m.json() for m in t.sent("fine")] == [1, 2, 4]
        assert t.committed("orders") == 4
    assert seen[0] == [1, 2, 3, 4]


@pytest.mark.parametrize("ordering", ["partition", "key"])
def test_a_refused_send_keeps_the_order(app: elsa.App, ordering: Any) -> None:
    seen: list[int] = []

    @app.handler("orders", transactional=True, ordering=ordering, retry=elsa.Retry(max_attempts=3, base=1))
    def bill(order: int, ctx: elsa.Context) -> None:
        seen.append(order)
        ctx.send("refused" if order == 2 and seen.count(2) < 3 else "fine", order)

    with app.test(raise_errors=False) as t:
        t.refuse("refused")
        t.send_many("orders", [1, 2, 3, 4], key="k")
        for _ in range(10):
            t.advance(20)
        assert [m.json() for m in t.sent("fine")] == [1, 2, 3, 4]
        assert t.committed("orders") == 4
    firsts = [order for index, order in enumerate(seen) if order not in seen[:index]]
    assert firsts == [1, 2, 3, 4]


def test_a_class_is_a_handler_here_too(app: elsa.App) -> None:
    """Its policy is known before its first `setup` has run."""

    @app.handler("orders", transactional=True, retry=elsa.Retry(max_attempts=2, base=1))
    class Bill:
        def setup(self, ctx: elsa.Context) -> None:
            self.count = 0

        def handle(self, order: int, ctx: elsa.Context) -> None:
            self.count += 1
            ctx.send("refused" if order == 1 else "fine", order)

    with app.test(raise_errors=False) as t:
        t.refuse("refused")
        t.send_many("orders", [1, 2])
        for _ in range(6):
            t.advance(20)
        assert [dead.message.json() for dead in t.dead_letters()] == [1]
        assert [m.json() for m in t.sent("fine")] == [2]


def test_nobody_can_wait_for_a_send_inside_the_call(app: elsa.App) -> None:
    deliveries = []

    @app.handler("orders", transactional=True, retry=None)
    def bill(order: int, ctx: elsa.Context) -> None:
        delivery = ctx.send("invoices", order)
        deliveries.append(delivery)
        with pytest.raises(RuntimeError, match="cannot be waited for inside"):
            delivery.result(5)

    with app.test() as t:
        t.send("orders", 7)
        assert deliveries[0].result(0).topic == "invoices"
        assert t.dead_letters() == []


def test_a_batch_goes_as_one(app: elsa.App) -> None:
    @app.handler("orders", transactional=True, batch=3, batch_wait=0)
    def bill(orders: list[int], ctx: elsa.Context) -> None:
        ctx.send("sums", sum(orders))

    with app.test() as t:
        t.send_many("orders", [1, 2, 3])
        t.advance(1)
        assert [m.json() for m in t.sent("sums")] == [6]
        assert t.committed("orders") == 3


@pytest.mark.parametrize("result", [elsa.DEFER, elsa.CONTINUE])
def test_what_is_not_over_cannot_be_in_a_transaction(app: elsa.App, result: Any) -> None:
    @app.handler("orders", transactional=True, retry=None)
    def bill(order: int) -> Any:
        return result

    with app.test(raise_errors=False) as t:
        t.send("orders", 1)
        (dead,) = t.dead_letters()
    assert "its transaction cannot wait" in (dead.error_message or "")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"group": None}, "needs a group"),
        ({"delivery": "at_most_once"}, "two answers to the same question"),
        ({"executor": "process"}, "is not available yet"),
        ({"idempotent_by": "id"}, "nothing comes twice"),
        ({"retry": elsa.Retry(where="topic")}, "its copy could come twice"),
        ({"transactional": "yes"}, "neither True nor False"),
    ],
)
def test_what_contradicts_it_is_refused(app: elsa.App, options: Any, text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        app.handler("t", **{"transactional": True, **options})(lambda body: None)
