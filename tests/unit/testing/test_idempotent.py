"""`idempotent_by`: a message with an id that was handled before is not run again."""

from __future__ import annotations

import json
from typing import Any

import pytest

import elsa
from elsa.errors import DeclarationError


def kinds(t: Any) -> list[str]:
    return [one.outcome for one in t.outcomes]


@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
def test_the_second_message_of_an_id_is_skipped(app: elsa.App, ordering: Any) -> None:
    seen: list[int] = []

    @app.handler("orders", ordering=ordering, idempotent_by="id")
    def bill(order: int) -> None:
        seen.append(order)

    with app.test() as t:
        for order, id_ in ((1, "a"), (2, "a"), (3, "b"), (4, "a")):
            t.send("orders", order, id=id_)
        assert t.committed("orders") == 4
        assert [m.key for m in t.sent(f"orders.{app.name}.seen")] == [b"a", b"b"]

    assert seen == [1, 3]
    assert kinds(t) == ["ok", "skipped", "ok", "skipped"]
    assert t.outcomes[1].reason == "handled before"


def test_without_an_id_all_run(app: elsa.App) -> None:
    seen: list[int] = []

    @app.handler("orders", idempotent_by="id")
    def bill(order: int) -> None:
        seen.append(order)

    with app.test() as t:
        t.send("orders", b"1")
        t.send("orders", b"1")
        assert t.committed("orders") == 2

    assert len(seen) == 2


def test_a_function_makes_the_id(app: elsa.App) -> None:
    seen: list[Any] = []

    @app.handler("orders", idempotent_by=lambda message: json.loads(message.value)["no"])
    def bill(order: dict[str, int]) -> None:
        seen.append(order["amount"])

    with app.test() as t:
        for no, amount in ((7, 1), (7, 2), (8, 3)):
            t.send("orders", {"no": no, "amount": amount})

    assert seen == [1, 3]


def test_a_function_that_fails_fails_its_message(app: elsa.App) -> None:
    @app.handler("orders", retry=None, idempotent_by=lambda message: json.loads(message.value)["no"])
    def bill(order: dict[str, int]) -> None:
        """Never called."""

    with app.test(raise_errors=False) as t:
        t.send("orders", {})
        (dead,) = t.dead_letters()

    assert dead.error_type == "builtins.KeyError"


def test_one_that_failed_is_tried_again_and_then_known(app: elsa.App) -> None:
    seen: list[int] = []

    @app.handler("orders", idempotent_by="id", retry=elsa.Retry(base=5, jitter=False))
    def bill(order: int, ctx: elsa.Context) -> None:
        seen.append(order)
        if ctx.attempt == 1 and order == 1:
            raise ValueError

    with app.test(raise_errors=False) as t:
        t.send("orders", 1, id="a")
        t.send("orders", 2, id="a")
        t.advance(5)

    assert seen == [1, 1]
    assert kinds(t) == ["retried", "ok", "skipped"]


def test_another_one_waits_while_the_first_is_tried_again(app: elsa.App) -> None:
    """Without an order the second would pass it."""
    seen: list[int] = []

    @app.handler("orders", ordering="none", idempotent_by="id", retry=elsa.Retry(max_attempts=2, base=5, jitter=False))
    def bill(order: int, ctx: elsa.Context) -> None:
        seen.append(order)
        if order == 1:
            raise ValueError

    with app.test(raise_errors=False) as t:
        t.send("orders", 1, id="a")
        t.send("orders", 2, id="a")
        assert seen == [1]
        t.advance(5)
        t.advance(1)

    # the first is a dead letter, so nobody has handled that id
    assert seen == [1, 1, 2]


def test_a_refused_send_leaves_no_id(app: elsa.App) -> None:
    @app.handler("orders", idempotent_by="id", retry=elsa.Retry(base=5, jitter=False))
    def bill(order: int, ctx: elsa.Context) -> None:
        if ctx.attempt == 1:
            ctx.send("refused", b"x")

    with app.test(raise_errors=False) as t:
        t.refuse("refused", times=1)
        t.send("orders", 1, id="a")
        t.advance(5)

        assert t.outcomes[-1].outcome == "ok"
        assert t.committed("orders") == 1


def test_a_batch_is_run_without_those_that_were_handled(app: elsa.App) -> None:
    seen: list[list[int]] = []

    @app.handler("orders", batch=4, batch_wait=0, idempotent_by=lambda message: message.value)
    def bill(orders: list[int]) -> None:
        seen.append(orders)

    with app.test() as t:
        t.send_many("orders", [1, 2, 1, 3])
        t.advance(1)
        t.send_many("orders", [3, 4])
        t.advance(1)
        assert t.committed("orders") == 6

    assert sorted(order for batch in seen for order in batch) == [1, 2, 3, 4]


def test_what_is_acknowledged_later_is_known_then(app: elsa.App) -> None:
    contexts: list[elsa.Context] = []

    @app.handler("orders", ordering="none", idempotent_by="id")
    def bill(order: int, ctx: elsa.Context) -> Any:
        contexts.append(ctx)
        return elsa.DEFER

    with app.test() as t:
        t.send("orders", 1, id="a")
        assert t.sent(f"orders.{app.name}.seen") == []
        contexts[0].ack()
        assert [m.key for m in t.sent(f"orders.{app.name}.seen")] == [b"a"]
        t.send("orders", 2, id="a")

    assert len(contexts) == 1


def test_what_a_former_worker_handled_is_loaded(app: elsa.App) -> None:
    seen: list[int] = []

    @app.handler("orders", idempotent_by="id")
    def bill(order: int) -> None:
        seen.append(order)

    with app.test() as t:
        t.send("orders", 1, id="a")
        t.restart()
        t.send("orders", 2, id="a")

    assert seen == [1]


@pytest.mark.parametrize(
    ("options", "text"), [({"group": None}, "needs a group"), ({"idempotent_by": 5}, "is unknown")]
)
def test_what_makes_no_sense_is_refused(app: elsa.App, options: Any, text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        app.handler("t", **{"idempotent_by": "id", **options})(lambda body: None)
