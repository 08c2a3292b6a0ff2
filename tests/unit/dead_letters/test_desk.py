"""What is asked of the desk is checked before anything is asked of Kafka; the rest is seen on a real one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.testing.kafka import unique_name

if TYPE_CHECKING:
    from elsa.dead_letters import DeadLetters


@pytest.fixture
def letters() -> DeadLetters:
    # nobody is there: a question would take its time and raise BrokerUnavailable
    return elsa.App(unique_name("app"), brokers="127.0.0.1:1").dead_letters("orders", group="billing")


def test_the_topic_is_named_by_source_and_group(letters: DeadLetters) -> None:
    assert repr(letters) == "<DeadLetters of 'orders.billing.dlq'>"


def test_a_handler_without_a_group_has_those_of_its_app() -> None:
    app = elsa.App(unique_name("app"))

    assert app.dead_letters("orders", group=None).topic == f"orders.{app.name}.dlq"
    assert app.dead_letters("lost").topic == "lost"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"to": "x", "group": "y"}, "to= and group= say two places"),
        ({"to": "orders.billing.dlq"}, "is where they are: name another topic"),
        ({"to": "orders.billing.dlq-handled"}, "is where they are: name another topic"),
        ({"limit": 0}, "limit=0 is no number of messages"),
        ({"rate": 0}, "rate=0 is no number of messages a second"),
        ({"rate": float("inf")}, "rate=inf is no number of messages a second"),
        ({"offsets": []}, "offsets= names no dead letter"),
        ({"until": datetime(2026, 1, 31)}, "until=.* has no time zone"),  # noqa: DTZ001 - the point
    ],
)
def test_wrong_options_are_refused(letters: DeadLetters, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        letters.replay(**options)


def test_wrong_options_of_a_list_and_a_drop_are_refused(letters: DeadLetters) -> None:
    with pytest.raises(ValueError, match="limit=0"):
        next(letters.list(limit=0))
    with pytest.raises(ValueError, match="limit=-1"):
        letters.drop(limit=-1)
