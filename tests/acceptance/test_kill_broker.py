"""`kill -9` of Kafka itself under load: the worker processes wait, go on when it is back, and lose nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.broker import EmbeddedKafka
from elsa.kafka import probe
from elsa.testing.kafka import require_embedded, unique_name

from .driver import Stage, stage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.broker, pytest.mark.slow]


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[EmbeddedKafka]:
    """One node that may be killed."""
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        yield kafka


def _topic(kafka: EmbeddedKafka) -> str:
    name = unique_name("broker")
    probe.create_topic(kafka.bootstrap, name, 6)
    return name


def _kill_and_heal(kafka: EmbeddedKafka, node: int, on: Stage, *, away: float) -> None:
    """The test: a node is killed while two processes work, and comes back `away` seconds later."""
    on.produce(40_000, seconds=0.001)
    tree = on.start("--processes", "2")
    tree.wait_ready(2)
    on.wait_handled(6_000)
    pids = tree.workers()

    kafka.kill_node(node)
    gone = time.monotonic()
    time.sleep(away)  # how long it stays away is the case
    at = len(on.account().started)
    kafka.start_node(node)
    back = time.monotonic()
    account = on.wait_all(90)
    assert tree.workers() == pids
    assert tree.stop() == exits.OK

    served = max(account.gap(p, back) for p in range(6))
    print(f"away {back - gone:.1f} s, {at} handled then; served {served:.2f} s after it was back;", account)
    print(f"longest stall {account.stall(gone - 1, back + 30):.2f} s")
    assert account.lost == set()
    assert account.duplicates <= 2_000 * 2 + 6
    assert account.disorder == []
    assert tree.events("started") == []


def test_a_killed_and_restarted_broker_costs_no_message(own_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    with stage(own_kafka.bootstrap, _topic(own_kafka), tmp_path) as on:
        _kill_and_heal(own_kafka, 1, on, away=4)


def test_one_of_three_nodes_killed_costs_no_message(kafka_cluster: EmbeddedKafka, tmp_path: Path) -> None:
    with stage(kafka_cluster.bootstrap, _topic(kafka_cluster), tmp_path) as on:
        _kill_and_heal(kafka_cluster, 1, on, away=4)
