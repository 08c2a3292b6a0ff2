"""Which topics a group reads, and what serves each of them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.message import TopicPartition
from elsa.names import retry_topic
from elsa.worker.routes import Routes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def app() -> Iterator[elsa.App]:
    app = elsa.App("unit-routes")
    yield app
    app.stop()


def routes(app: elsa.App, topics: str | list[str], group: str | None = "g", **options: Any) -> Routes:
    @app.handler(topics, group=group, **options)
    def handle(body: bytes) -> None:
        """Never called."""

    return Routes(app.registry.bindings(), group)


def test_retry_topics_are_read_as_soon_as_they_exist(app: elsa.App) -> None:
    made = routes(app, ["a", "b"])

    assert made.learn([]) == ["a", "b"]
    assert made.learn(["a", "a.g.retry", "a.other.retry", "c.g.retry"]) == ["a", "a.g.retry", "b"]


def test_what_came_back_is_served_by_its_sources_handler(app: elsa.App) -> None:
    made = routes(app, "a")
    made.learn(["a", "a.g.retry"])
    binding = made.binding("a.g.retry")

    assert binding is made.binding("a") is app.registry.bindings()[0]
    assert (made.source("a.g.retry"), made.source("a")) == ("a", "a")
    assert (made.is_retry("a.g.retry"), made.is_retry("a")) == (True, False)


def test_a_pattern_takes_in_the_retry_topics_of_what_it_matches_and_never_matches_one(app: elsa.App) -> None:
    made = routes(app, "^a.*")
    found = made.learn(["a1", "a1.g.retry", "a2.g.retry", "a3.h.dlq", "b"])

    assert found == ["a1", "a1.g.retry"]
    assert made.binding("a2.g.retry") is None


def test_it_is_said_once_what_a_pattern_does_not_get(app: elsa.App, caplog: pytest.LogCaptureFixture) -> None:
    made = routes(app, "^.*")
    topics = ["orders.status", "payments.retry", "unit-routes.status", "orders.h.retry", "__consumer_offsets"]
    with caplog.at_level(logging.INFO, "elsa.worker"):
        found = made.learn(topics)
        made.learn(topics)

    assert found == ["orders.status", "payments.retry"]
    (text,) = [record.getMessage() for record in caplog.records]
    assert text.endswith("left out, their names are of Elsa's own: orders.h.retry, unit-routes.status")


def test_a_standalone_handler_reads_no_retry_topic(app: elsa.App) -> None:
    made = routes(app, "a", None)

    assert made.learn(["a", "a.unit-routes.retry"]) == ["a"]
    assert not made.is_retry("a.unit-routes.retry")


def test_a_long_name_comes_back_to_its_source(app: elsa.App) -> None:
    """Names over Kafka's limit are hashed: they cannot be taken apart again."""
    long = "x" * 249
    made = routes(app, long)
    (retry,) = set(made.learn([retry_topic(long, "g")])) - {long}

    assert made.source(retry) == long


def test_partitions_that_nothing_here_serves_are_left_out_and_named(
    app: elsa.App, caplog: pytest.LogCaptureFixture
) -> None:
    made = routes(app, "a")
    with caplog.at_level(logging.ERROR):
        found = made.served([TopicPartition("a", 0), TopicPartition("z", 3)])

    assert list(found) == [TopicPartition("a", 0)]
    (record,) = [r for r in caplog.records if r.__dict__.get("event") == "partition_without_handler"]
    assert (record.__dict__["topic"], record.__dict__["partition"]) == ("z", 3)
