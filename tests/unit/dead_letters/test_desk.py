"""What is asked of the desk is checked before anything is asked of Kafka; the rest is seen on a real one."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.dead_letters import Result
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
        ({"rate": "x"}, "rate='x' is no number of messages a second above 0: give one, or a text"),
        ({"rate": True}, "rate=True is no number"),
        ({"limit": "x"}, "limit='x' is no number of messages"),
        ({"since": "x"}, "since='x' is no time"),
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


@pytest.mark.parametrize("rate", ["100", "100/s", "10/m", 0.5])
def test_a_rate_is_what_the_command_takes(letters: DeadLetters, rate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[float] = []

    def run(*_: object, rate: float, **__: object) -> Result:
        found.append(rate)
        return Result()

    monkeypatch.setattr(letters, "_run", run)
    letters.replay(rate=rate)

    assert found == [{"100": 100.0, "100/s": 100.0, "10/m": pytest.approx(10 / 60)}.get(rate, rate)]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"errorr": ValueError}, r"replay\(\) has no filter or option errorr=: did you mean error=\?"),
        ({"dryrun": True}, r"did you mean dry_run=\?"),
        ({"colour": 1}, "has no filter or option colour=: filters are handler, error, reason"),
    ],
)
def test_a_name_that_is_none_comes_with_a_near_one(letters: DeadLetters, options: dict[str, Any], text: str) -> None:
    with pytest.raises(TypeError, match=text):
        letters.replay(**options)
    with pytest.raises(TypeError, match=r"list\(\) has no filter or option hander=: did you mean handle"):
        next(letters.list(hander="x"))  # type: ignore[call-arg]  # the point
