"""What looking from outside costs: one look of `elsa monitor` at 1,000 partitions that are behind, and a scrape."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as RawPartition

from elsa.config import Settings
from elsa.monitor.look import Request
from elsa.monitor.scout import Scout
from elsa.monitor.watch import Watch
from tests.benchmarks.report import Row, Target
from tests.benchmarks.streams import spread

if TYPE_CHECKING:
    from tests.benchmarks.bench import Bench

_TOPICS, _EACH = 10, 100
_ALL = _TOPICS * _EACH


def run(bench: Bench) -> list[Row]:
    """Every partition has a message that is not committed, so that its age has to be read when offsets have moved."""
    topics = [f"{bench.name('monitor')}-{number}" for number in range(_TOPICS)]
    spread(bench.brokers, topics, _EACH, 3 * _ALL)
    group = bench.name("monitor")
    moved = Row("monitor", f"look, {_ALL:,} partitions behind, all offsets have moved", "ms")
    still = Row("monitor", f"look, {_ALL:,} partitions behind, none has moved", "ms")
    scrape = Row("monitor", f"scrape, {_ALL:,} partitions", "ms", target=Target("value", "at most", 200.0))
    with Scout(Settings(brokers=bench.brokers)) as scout:
        watch = Watch(scout, Request((group,)), interval=10.0, window=60.0)
        for turn in range(bench.size(10, 3)):
            _commit(bench.brokers, group, topics, turn % 2)
            for row in (moved, still):
                began = time.perf_counter()
                watch.turn()
                row.elsa.append(1000 * (time.perf_counter() - began))
            began = time.perf_counter()
            page = watch.page()
            scrape.elsa.append(1000 * (time.perf_counter() - began))
            for name in (b"messages", b"seconds"):
                if (shown := page.count(b"\nelsa_group_lag_%s{" % name)) != _ALL:
                    raise AssertionError(f"the lag of {shown} partitions in {name.decode()} was shown")
    for row in (moved, still, scrape):
        bench.say(f"monitor: {row.what} took {min(row.elsa):.0f} to {max(row.elsa):.0f} ms")
    return [moved, still, scrape]


def _commit(brokers: str, group: str, topics: list[str], offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": brokers, "group.id": group})
    wanted = [RawPartition(topic, partition, offset) for topic in topics for partition in range(_EACH)]
    consumer.commit(offsets=wanted, asynchronous=False)
    consumer.close()
