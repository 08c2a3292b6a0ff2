"""Transactions through kills of workers: a reader of committed messages sees each result exactly once."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.kafka import probe
from elsa.testing.kafka import unique_name

from .driver import APP, Stage, stage, until

if TYPE_CHECKING:
    from pathlib import Path

    from elsa.broker import EmbeddedKafka

    from .conftest import SetStage

pytestmark = [pytest.mark.broker, pytest.mark.slow]

SENDING = '    ctx.send(PLAN["topic"] + ".out", event.id, key=ctx.key)\n'
COPYING = APP.replace("    note(1, ctx, event)\n", SENDING + "    note(1, ctx, event)\n")


def test_each_result_is_read_once(set_stage: SetStage) -> None:
    """Three processes killed and one stopped under load, two of them at once."""
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage = set_stage()
    stage.source = COPYING
    stage.options = {"ordering": "key", "concurrency": 8, "transactional": True}
    out = f"{stage.topic}.out"
    stage.client.topics.create(out, partitions=3)
    stage.produce(12_000, seconds=0.002, keys=300)
    tree = stage.start("--processes", "2")
    tree.wait_ready(2)
    gone: list[int] = []
    signals = (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL, signal.SIGKILL)
    for number, handled in zip(signals, (1_500, 4_000, 6_500, 9_000), strict=True):
        stage.wait_handled(handled + chance.randrange(1_000))
        victim = chance.choice([pid for pid in tree.workers() if pid not in gone])
        os.kill(victim, number)
        gone.append(victim)
        tree.wait_ready(2 + len(gone))
    until(lambda: sum(stage.committed().values()) >= 12_000, "everything is committed", 180)
    assert tree.stop() == exits.OK

    check_results(stage, 12_000)


def check_results(on: Stage, count: int) -> None:
    """As a reader of committed messages sees them."""
    results = Counter(int(message.value or b"") for message in on.client.stream(f"{on.topic}.out"))
    print(on.account(), "results", results.total())
    assert set(results) == set(range(count))
    assert max(results.values()) == 1


def test_a_killed_node_of_three_costs_and_doubles_no_result(kafka_cluster: EmbeddedKafka, tmp_path: Path) -> None:
    topic = unique_name("broker")
    for name in (topic, f"{topic}.out"):
        probe.create_topic(kafka_cluster.bootstrap, name, 6)
    with stage(kafka_cluster.bootstrap, topic, tmp_path) as on:
        on.source = COPYING
        on.options = {"transactional": True}
        on.produce(10_000, seconds=0.001)
        tree = on.start("--processes", "2")
        tree.wait_ready(2)
        on.wait_handled(3_000)
        kafka_cluster.kill_node(2)
        try:
            on.wait_handled(5_000)
        finally:
            kafka_cluster.start_node(2)
        until(lambda: sum(on.committed().values()) >= 10_000, "everything is committed", 120)
        assert tree.stop() == exits.OK
        check_results(on, 10_000)
