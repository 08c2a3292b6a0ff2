"""The first send of a handler or task comes before its first worker, so before its topic exists.

In development it is made as the handler says; in production its absence is an error that names it.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.errors import TopicError, UnknownTopic

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.broker


@pytest.fixture
def app(brokers: str) -> Iterator[elsa.App]:
    app = elsa.App(f"it-first-{uuid.uuid4().hex[:8]}", brokers=brokers)
    yield app
    for binding in app.registry.bindings():
        app.topics.delete(binding.topic, missing_ok=True)
    app.stop()


def test_a_task_can_be_sent_before_its_first_worker(app: elsa.App) -> None:
    @app.task(partitions_count=3)
    def welcome(user_id: int) -> None: ...

    assert welcome.send(1).result(20).offset == 0
    assert app.topics.partition_count(f"{app.name}.tasks") == 3


@pytest.mark.parametrize("form", ["send", "asend", "send_many"])
def test_every_form_of_a_handlers_send_makes_its_topic(app: elsa.App, form: str) -> None:
    @app.handler(f"{app.name}-{form}")
    def bill(order: dict[str, Any]) -> None: ...

    if form == "send":
        bill.send({}).result(20)
    elif form == "asend":
        asyncio.run(bill.asend({}))
    else:
        bill.send_many([{}])

    assert len(list(app.stream(bill.topic))) == 1


def test_in_production_the_topic_has_to_be_there(brokers: str) -> None:
    app = elsa.App(f"it-first-{uuid.uuid4().hex[:8]}", brokers=brokers, environment="production")

    @app.task
    def welcome(user_id: int) -> None: ...

    with pytest.raises(UnknownTopic, match="tasks"):
        welcome.send(1)
    app.stop()


def test_another_topic_is_not_made_by_a_send(app: elsa.App) -> None:
    @app.handler(f"{app.name}-own")
    def bill(order: dict[str, Any]) -> None: ...

    with pytest.raises(UnknownTopic):
        bill.options(topic=f"{app.name}-other").send({})


def test_a_topic_has_at_least_one_partition(app: elsa.App) -> None:
    with pytest.raises(TopicError, match="cannot have -1 partitions"):
        app.topics.create(f"{app.name}-none", partitions=-1)
