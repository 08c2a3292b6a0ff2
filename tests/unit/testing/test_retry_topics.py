"""Retries by topic in the harness: others pass, the message comes back as it was."""

from __future__ import annotations

from typing import Any

import pytest

import elsa

LATER = elsa.Retry(max_attempts=3, base=20, factor=1, jitter=False, where="topic")


def kinds(t: Any) -> list[str]:
    return [one.outcome for one in t.outcomes]


@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
def test_others_pass_it_and_it_comes_back_as_it_was(app: elsa.App, ordering: Any) -> None:
    seen: list[Any] = []

    @app.handler("orders", ordering=ordering, retry=LATER)
    def bill(order: int, ctx: elsa.Context) -> None:
        own = [pair for pair in ctx.headers if not pair[0].startswith("elsa-")]
        seen.append((order, ctx.attempt, ctx.topic, ctx.partition, ctx.offset, ctx.key, own))
        if order == 1 and ctx.attempt < 3:
            raise ValueError

    with app.test(raise_errors=False) as t:
        t.send("orders", 1, key="a", headers={"x": "1"})
        t.send("orders", 2, key="a")
        assert [(order, attempt) for order, attempt, *_ in seen] == [(1, 1), (2, 1)]
        assert t.committed("orders") == 2
        t.advance(20)
        t.advance(20)

        assert seen[2:] == [(1, n, "orders", 0, 0, b"a", [("x", b"1")]) for n in (2, 3)]
        assert kinds(t) == ["moved", "ok", "moved", "ok"]
        assert t.dead_letters() == []


def test_it_is_given_up_after_its_last_attempt_with_its_origin(app: elsa.App) -> None:
    @app.handler("orders", retry=LATER)
    def bill(order: int) -> None:
        raise ValueError(order)

    with app.test(raise_errors=False) as t:
        t.send("orders", 7, key="a")
        t.advance(20)
        t.advance(20)
        (dead,) = t.dead_letters()

    assert kinds(t) == ["moved", "moved", "dead"]
    assert dead.message.topic == f"orders.{app.name}.dlq"
    assert (dead.origin, dead.attempt, dead.reason) == ("orders:0:0", 3, "exhausted")


def test_only_the_group_that_failed_gets_it_back(app: elsa.App) -> None:
    seen: list[str] = []

    @app.handler("orders", group="one", retry=LATER)
    def first(order: int, ctx: elsa.Context) -> None:
        seen.append(f"first {ctx.attempt}")
        if ctx.attempt == 1:
            raise ValueError

    @app.handler("orders", group="two", retry=LATER)
    def second(order: int, ctx: elsa.Context) -> None:
        seen.append(f"second {ctx.attempt}")

    with app.test(raise_errors=False) as t:
        t.send("orders", 1)
        t.advance(20)

    assert sorted(seen) == ["first 1", "first 2", "second 1"]


def test_auto_moves_what_waits_long_and_has_no_order(app: elsa.App) -> None:
    @app.handler("orders", ordering="none")
    def bill(order: int, ctx: elsa.Context) -> None:
        if ctx.attempt == 1:
            raise elsa.RetryLater(order)

    with app.test(raise_errors=False) as t:
        t.send("orders", 10)
        t.send("orders", 11)
        assert kinds(t) == ["retried", "moved"]
        t.advance(11)

        assert sorted(kinds(t)) == ["moved", "ok", "ok", "retried"]


def test_age_counts_from_the_first_send(app: elsa.App) -> None:
    @app.handler("orders", retry=elsa.Retry(max_attempts=9, base=20, jitter=False, factor=1, max_age=30, where="topic"))
    def bill(order: int) -> None:
        raise ValueError

    with app.test(raise_errors=False) as t:
        t.send("orders", 1)
        t.advance(20)
        t.advance(20)

        assert kinds(t) == ["moved", "moved", "dead"]


def test_one_member_of_a_batch_goes_and_the_others_are_done(app: elsa.App) -> None:
    seen: list[list[int]] = []

    @app.handler("orders", batch=3, batch_wait=0, retry=LATER)
    def bill(orders: list[int], ctx: elsa.Context) -> None:
        seen.append(orders)
        if 2 in orders and ctx.attempt == 1:
            raise elsa.BatchError(orders.index(2), ValueError())

    with app.test(raise_errors=False) as t:
        t.send_many("orders", [1, 2, 3])
        assert t.committed("orders") == 3
        t.advance(20)

    assert seen[-1] == [2]
    assert [order for batch in seen for order in batch].count(1) == 1


def test_a_task_comes_back_with_its_arguments(app: elsa.App) -> None:
    seen: list[Any] = []

    @app.task(retry=LATER)
    def welcome(user: int, *, ctx: elsa.Context) -> None:
        seen.append((user, ctx.attempt))
        if ctx.attempt == 1:
            raise ValueError

    with app.test(raise_errors=False) as t:
        welcome.send(42)
        t.advance(20)

    assert seen == [(42, 1), (42, 2)]
