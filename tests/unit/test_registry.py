"""Which handler serves a topic."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import DeclarationError
from elsa.registry import route, select

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-registry")
    app.handler("^orders.*", name="pattern")(lambda body: None)
    app.handler(["orders-eu", "orders-us"], name="exact")(lambda body: None)
    app.handler("orders-eu", name="alone", group=None)(lambda body: None)
    yield app
    app.stop()


def test_a_name_wins_over_a_regex(app: elsa.App) -> None:
    bindings = app.registry.groups()["unit-registry"]

    assert [b.name for t in ("orders-eu", "orders-xx") if (b := route(bindings, t))] == ["exact", "pattern"]
    assert route(bindings, "payments") is None


def test_a_regex_never_matches_an_internal_topic(app: elsa.App) -> None:
    bindings = app.registry.groups()["unit-registry"]

    assert route(bindings, "orders-eu.billing.dlq") is None


def test_standalone_handlers_stand_apart(app: elsa.App) -> None:
    assert [b.name for b in app.registry.standalone()] == ["alone"]
    assert [b.topic for b in app.registry.bindings()] == ["^orders.*", "orders-eu", "orders-us", "orders-eu"]


def test_topics_can_be_selected_and_excluded(app: elsa.App) -> None:
    bindings = app.registry.bindings()

    assert [b.topic for b in select(bindings, ["orders-us"], [])] == ["orders-us"]
    assert [b.topic for b in select(bindings, [], ["orders-eu", "^orders.*"])] == ["orders-us"]


def test_handlers_are_found_by_name(app: elsa.App) -> None:
    assert app.registry["exact"].topics == ("orders-eu", "orders-us")
    assert app.registry.get("nobody") is None
    assert len(app.registry) == 3
    assert {handler.name for handler in app.registry} == {"pattern", "exact", "alone"}


def test_a_message_is_its_tasks_or_everybodys_who_shares_the_topic(app: elsa.App) -> None:
    def message(task: bytes) -> Any:
        return SimpleNamespace(headers=lambda: [("elsa-task", task)])

    app.task(topic="jobs", name="mail")(lambda: None)
    app.task(topic="jobs", name="bill")(lambda: None)
    jobs = next(b for b in app.registry.bindings() if b.topic == "jobs")
    alone = next(b for b in app.registry.bindings() if b.topic == "orders-us")

    assert [jobs.name_for(message(task)) for task in (b"bill", b"nobody")] == ["bill", "tasks of jobs"]
    assert alone.name_for(message(b"bill")) == "exact"


def test_two_pairs_of_topic_and_group_with_one_name_in_common_are_refused(app: elsa.App) -> None:
    app.handler("orders", group="eu.billing", name="first")(lambda body: None)
    app.handler("orders", group="billing", name="other")(lambda body: None)

    said = r"'orders.eu' in group 'billing' and topic 'orders' in group 'eu.billing' .* orders.eu.billing.dlq"
    with pytest.raises(DeclarationError, match=said):
        app.handler("orders.eu", group="billing", name="second")(lambda body: None)
    assert "second" not in {handler.name for handler in app.registry}
