"""Case 36: workers start before their topic exists, and outlive a restart of the broker without one of theirs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.broker import EmbeddedKafka
from elsa.kafka import probe
from elsa.testing.kafka import require_embedded, unique_name

from .waiting import Seen, stays, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.broker


def test_a_topic_that_comes_late(
    make_app: Callable[..., elsa.App], brokers: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    app, name = make_app(create_topics=False), unique_name("late")
    grouped: Seen[str] = Seen()
    alone: Seen[str] = Seen()

    @app.handler(name, name="grouped")
    def handle(body: str) -> None:
        grouped(body)

    @app.handler(name, group=None, start="earliest", name="alone")
    def handle_alone(body: str) -> None:
        alone(body)

    def warnings() -> int:
        return sum(record.__dict__.get("event") == "topic_missing" for record in caplog.records)

    with app:
        with pytest.raises(elsa.ElsaError, match=name):
            app.produce(name, "too early")
        until(lambda: warnings() == 2, "both handlers have said it once")
        # longer than some looks at the cluster
        stays(lambda: not app._runtime.ended.is_set(), 2.5, "the worker")
        probe.create_topic(brokers, name, 2)
        try:
            app.produce(name, "now")
            assert grouped.wait(1) == ["now"]
            assert alone.wait(1) == ["now"]
        finally:
            probe.delete_topics(brokers, [name])

    assert warnings() == 2


def test_a_pattern_finds_topics_that_come_late(make_app: Callable[..., elsa.App], brokers: str) -> None:
    app, prefix = make_app(), unique_name("pattern")
    seen: Seen[tuple[str, str]] = Seen()

    @app.handler(f"^{prefix}-.*")
    def handle(body: str, ctx: elsa.Context) -> None:
        seen((ctx.topic, body))

    made = []
    with app:
        try:
            for number in range(2):
                made.append(f"{prefix}-{number}")
                probe.create_topic(brokers, made[-1], 1)
                app.produce(made[-1], "x")
                seen.wait(number + 1)
        finally:
            app.stop()
            probe.delete_topics(brokers, made)

    assert seen.items == [(name, "x") for name in made]


def test_in_development_missing_topics_are_created(make_app: Callable[..., elsa.App], brokers: str) -> None:
    app, name = make_app(default_partitions=3), unique_name("made")
    seen: Seen[str] = Seen()

    @app.handler(name, topic_config={"retention.ms": "12345678"})
    def handle(body: str) -> None:
        seen(body)

    with app:
        until(lambda: name in probe.list_topics(brokers), "the topic is made")
        app.produce(name, "x")
        seen.wait(1)
        try:
            assert probe.topic_config(brokers, name)["retention.ms"] == "12345678"
            assert app.topics.partition_count(name) == 3
        finally:
            probe.delete_topics(brokers, [name])


def test_a_restart_of_the_broker(tmp_path: Path) -> None:
    require_embedded()
    seen: Seen[str] = Seen()
    with EmbeddedKafka(data_dir=tmp_path / "kafka") as kafka:
        port = int(kafka.bootstrap.rpartition(":")[2])
        app = elsa.App(unique_name("restart"), brokers=kafka.bootstrap, runtime_dir=str(tmp_path))
        app.topics.create("one", partitions=1)
        app.topics.create("two", partitions=1)

        @app.handler(["one", "two"], name="grouped")
        def handle(body: str) -> None:
            seen(body)

        app.start()
        app.produce("one", "one before")
        app.produce("two", "two before")
        seen.wait(2)
    deliveries = [app.producer.send(name, f"{name} meanwhile") for name in ("one", "two")]
    try:
        with EmbeddedKafka(data_dir=tmp_path / "kafka", port=port):
            for delivery in deliveries:
                delivery.result(30)
            app.produce("one", "one after")
            app.produce("two", "two after")
            items = set(seen.wait_for(lambda items: len(set(items)) == 6, "all messages", 40))
            app.stop(10)
    finally:
        app.stop(1)

    assert items == {f"{name} {when}" for name in ("one", "two") for when in ("before", "meanwhile", "after")}
