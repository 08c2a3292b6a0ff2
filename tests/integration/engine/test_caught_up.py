"""A group that has handled everything has lag 0, also behind transaction markers and compacted tails.

Those take offsets that are never delivered: the end of the partition, as the client reports it, is committed instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.worker.runtime import Runtime

from .waiting import Log, Seen

if TYPE_CHECKING:
    import elsa
    from elsa.testing.kafka import Topics

pytestmark = pytest.mark.broker


def _transaction(brokers: str, topic: str, values: list[bytes], *, commits: bool) -> None:
    from confluent_kafka import Producer

    producer: Any = Producer({"bootstrap.servers": brokers, "transactional.id": f"it-{topic}"})
    producer.init_transactions(20)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.flush(10)
    if commits:
        producer.commit_transaction(20)
    else:
        producer.abort_transaction(20)


@pytest.mark.parametrize("commits", [True, False])
def test_transaction_markers_leave_no_lag(
    app: elsa.App, topic: Topics, log: Log, brokers: str, *, commits: bool
) -> None:
    name = topic()
    seen: Seen[str] = Seen()

    @app.handler(name)
    def handle(body: str) -> None:
        seen(body)

    app.produce(name, "plain")
    _transaction(brokers, name, [b"a", b"b"], commits=commits)
    with app:
        log.wait_committed(app.name, name, 4)

    assert log.ends(name) == {0: 4}
    assert seen.items == (["plain", "a", "b"] if commits else ["plain"])


def test_a_burst_ends_behind_a_marker(app: elsa.App, topic: Topics, log: Log, brokers: str) -> None:
    name = topic(2)
    seen: Seen[str] = Seen()

    @app.handler(name)
    def handle(body: str) -> None:
        seen(body)

    _transaction(brokers, name, [b"a", b"b", b"c"], commits=True)
    runtime = Runtime(app, burst=True)
    runtime.start()
    try:
        assert runtime.ended.wait(60)
    finally:
        assert runtime.stop(10)

    assert runtime.reason == "burst"
    assert sorted(seen.items) == ["a", "b", "c"]
    assert {p: log.committed(app.name, name, p) for p in (0, 1)} == log.ends(name)


def test_max_messages_are_handled_and_no_more(app: elsa.App, topic: Topics, log: Log) -> None:
    name = topic(2)
    seen: Seen[str] = Seen()

    @app.handler(name)
    def handle(body: str) -> None:
        seen(body)

    app.produce(name, [str(n) for n in range(40)])
    runtime = Runtime(app, max_messages=15)
    runtime.start()
    try:
        assert runtime.ended.wait(60)
    finally:
        assert runtime.stop(10)

    assert runtime.reason == "max_messages"
    assert len(seen) == 15
    assert sum(log.committed(app.name, name, p) or 0 for p in (0, 1)) == 15
