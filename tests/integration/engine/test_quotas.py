"""A client that a quota slows down says so, once, and the metric shows for how long the broker holds it back.

Without that a quota looks like a slow broker: nothing fails, everything only takes longer.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import elsa  # noqa: TC001 - a handler annotation is read at run time
from elsa.kafka.config import client_config
from elsa.observe.metrics import PrometheusObserver

from .quotas import set_quota
from .waiting import total, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker

METRIC = "elsa_kafka_broker_throttle_seconds"
#: ten seconds are the broker's window: this is ten times what the quota allows
BYTES_PER_SECOND, SENT = 20_000, 2_000_000


@pytest.fixture
def limited(brokers: str) -> Iterator[Callable[..., None]]:
    """`limited(app, kind, bytes_per_second)` gives that kind of the App's clients a quota."""
    given = []

    def limit(app: elsa.App, kind: Any, bytes_per_second: float = BYTES_PER_SECOND) -> None:
        client_id, quota = client_config(app.settings, kind)["client.id"], f"{kind}_byte_rate"
        set_quota(brokers, client_id, quota, bytes_per_second)
        given.append((client_id, quota))

    yield limit
    for client_id, quota in given:
        set_quota(brokers, client_id, quota, None)


@pytest.mark.parametrize("kind", ["producer", "consumer"])
def test_a_throttled_client_is_told_and_counted(
    kind: str,
    limited: Callable[..., None],
    make_app: Callable[..., elsa.App],
    topic: Topics,
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = PrometheusObserver()
    app, name = make_app(), topic(1)
    app.observer = metrics
    limited(app, kind)

    with caplog.at_level(logging.WARNING, "elsa.kafka"):
        for _ in range(SENT // 100_000):
            app.producer.send(name, bytes(100_000)).result(60)
            if kind == "producer" and has_throttled(metrics, kind):
                break
        if kind == "consumer":
            app.handler(name)(take)
            app.start()
        until(lambda: has_throttled(metrics, kind), f"the {kind} is throttled", 60)
        said = [record for record in caplog.records if getattr(record, "event", "") == "throttled"]

    # each client says so once (tests/unit/kafka/test_throttle.py), and another test's may still have had it to say
    assert {record.getMessage() for record in said} == {f"a quota of Kafka slows this {kind} down"}
    assert said[0].seconds > 0  # type: ignore[attr-defined]  # an extra field


def test_the_producer_of_transactions_is_counted(
    limited: Callable[..., None], make_app: Callable[..., elsa.App], topic: Topics
) -> None:
    metrics = PrometheusObserver()
    app, name, output = make_app(), topic(1), topic(1)
    app.observer = metrics
    limited(app, "producer")

    @app.handler(name, transactional=True)
    def pass_on(body: bytes, ctx: elsa.Context) -> None:
        ctx.send(output, bytes(100_000))

    # another App's: what this one has of its own is not held back
    make_app().produce(name, [b"v"] * 20)
    app.start()

    until(lambda: has_throttled(metrics, "producer"), "a transaction is throttled", 60)


def test_the_producer_of_reports_is_counted(
    limited: Callable[..., None], make_app: Callable[..., elsa.App], topic: Topics
) -> None:
    metrics = PrometheusObserver()
    app = make_app()
    app.observer = metrics
    app.handler(topic(1))(take)
    # it reports every two seconds, nothing else is sent
    limited(app, "producer", 10)
    app.start()

    until(lambda: has_throttled(metrics, "producer"), "a report is throttled", 60)


def take(body: bytes) -> None:
    """There is nothing to do: reading alone is too much."""


def has_throttled(metrics: PrometheusObserver, kind: str) -> bool:
    families = {family[0] for family in metrics.families()}
    return METRIC in families and total(metrics, METRIC, client=kind) > 0
