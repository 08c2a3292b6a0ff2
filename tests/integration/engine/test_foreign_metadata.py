"""Commit metadata that Elsa did not write, or that is damaged, is ignored with one warning, and everything runs.

Other tools write what they like beside an offset, and a commit copied from another offset says nothing of this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.observe.metrics import PrometheusObserver
from elsa.worker import progress

from .waiting import Log, Seen, total

if TYPE_CHECKING:
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def commit(brokers: str, group: str, topic: str, lines: dict[int, str]) -> None:
    """Commit offset 2 of these partitions with this metadata, by the plain client."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group, "enable.auto.commit": False})
    try:
        found = [TopicPartition(topic, partition, 2, metadata) for partition, metadata in lines.items()]
        consumer.commit(offsets=found, asynchronous=False)
    finally:
        consumer.close()


def test_it_is_ignored_and_counted(
    app: elsa.App, topic: Topics, log: Log, brokers: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = topic(5)
    seen: Seen[tuple[int, int]] = Seen()
    observer = app.observer = PrometheusObserver()

    @app.handler(name, ordering="key")
    def handle(body: str, ctx: elsa.Context) -> None:
        seen((ctx.partition, ctx.offset))

    ours = progress.encode(2, 5, [2, 4], {4: 3})
    assert ours
    damaged = ours[:-6] + ("A" if ours[-6] != "A" else "B") + ours[-5:]
    elsewhere = progress.encode(1, 5, [1, 2], {})
    assert elsewhere
    commit(brokers, app.name, name, {0: "hello", 1: damaged, 2: elsewhere, 3: "", 4: ours})
    app.produce(name, [elsa.Record(str(n), key=str(n), partition=p) for p in range(5) for n in range(6)])
    with app:
        for partition in range(5):
            log.wait_committed(app.name, name, 6, partition)

    expected = {(partition, offset) for partition in range(4) for offset in range(2, 6)} | {(4, 2), (4, 4)}
    assert sorted(seen.items) == sorted(expected)
    assert total(observer, "elsa_commit_metadata_ignored_total") == 3
    warnings: list[Any] = [one for one in caplog.records if getattr(one, "event", None) == "metadata_ignored"]
    assert [sorted(one.partitions) for one in warnings] == [[f"{name}[{partition}]" for partition in (0, 1, 2)]]
    assert all(
        found is not None and found.metadata == "" for found in (log.commit_of(app.name, name, p) for p in (0, 4))
    )
