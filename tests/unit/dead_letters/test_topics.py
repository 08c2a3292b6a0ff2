"""Dead-letter topics are told by their names, and by what handlers name themselves."""

from __future__ import annotations

import elsa
from elsa.dead_letters import topics
from elsa.testing.kafka import unique_name

THERE = ["orders", "orders.billing.dlq", "orders.billing.retry", "orders.billing.dlq-handled", "a.b.dlq", "__x", "lost"]


def test_of_a_cluster() -> None:
    assert topics.of_cluster(THERE) == ["a.b.dlq", "orders.billing.dlq"]


def test_of_a_source() -> None:
    assert topics.of_source("orders", THERE) == ["orders.billing.dlq"]
    assert topics.of_source("order", THERE) == []


def test_of_an_app() -> None:
    app = elsa.App(unique_name("app"))
    app.handler("orders", group="billing", name="a")(lambda body: None)
    app.handler("orders", group=None, name="b")(lambda body: None)
    app.handler("^pay.*", group="billing", name="c")(lambda body: None)
    app.handler("mails", name="d", dead_letter="lost")(lambda body: None)
    standalone, pattern = f"orders.{app.name}.dlq", "payments.billing.dlq"
    there = [*THERE, "mails", "payments", standalone, pattern, "missing.billing.dlq", f"{app.name}.delay.dlq"]

    found = topics.of_app(app.name, app.registry.bindings(), there)

    assert found == sorted(["orders.billing.dlq", standalone, pattern, "lost", f"{app.name}.delay.dlq"])
