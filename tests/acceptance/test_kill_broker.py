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
    on.produce(24_000, seconds=0.001)
    tree = on.start("--processes", "2")
    tree.wait_ready(2)
    on.wait_handled(4_000)
    pids = tree.workers()

    kafka.kill_node(node)
    gone = time.monotonic()
    time.sleep(away)  # how long it stays away is the case
    at = len(on.account().started)
    kafka.start_node(node)
    back = time.monotonic()
    account = on.wait_all()
    assert tree.workers() == pids
    assert tree.stop() == exits.OK

    print(f"away {back - gone:.1f} s, {at} handled then;", account)
    print(f"longest stall {account.stall(gone - 1, back + 30):.2f} s")
    assert account.lost == set()
    # away for longer than the session, all that was in hand and could not be committed comes again
    in_hand, uncommitted = 3 * 1_000, 2_000
    assert account.duplicates <= 2 * (in_hand + uncommitted)
    assert account.disorder == []
    assert tree.events("replaced") == []


def test_a_killed_and_restarted_broker_costs_no_message(own_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    with stage(own_kafka.bootstrap, _topic(own_kafka), tmp_path) as on:
        _kill_and_heal(own_kafka, 1, on, away=0.5)


def test_a_stop_while_the_broker_is_gone_keeps_its_deadline(own_kafka: EmbeddedKafka, tmp_path: Path) -> None:
    with stage(own_kafka.bootstrap, _topic(own_kafka), tmp_path) as on:
        on.produce(6_000, seconds=0.001)
        tree = on.start("--processes", "2", "--set", "session_timeout=6s")
        on.wait_handled(1_000)
        own_kafka.kill_node(1)
        began = time.monotonic()
        try:
            # what is finished can't be committed: it comes again, and is no reason to hang
            assert tree.stop(40) == exits.OK
            print(f"stopped in {time.monotonic() - began:.1f} s")
            assert tree.members() == []
        finally:
            own_kafka.start_node(1)
        # as many as before: nobody could tell the group that its members had gone, these take their places
        successor = on.start("--burst", "--processes", "2", "--set", "session_timeout=6s")
        assert successor.code() == exits.OK
        assert on.account().lost == set()


def test_one_of_three_nodes_killed_costs_no_message(kafka_cluster: EmbeddedKafka, tmp_path: Path) -> None:
    with stage(kafka_cluster.bootstrap, _topic(kafka_cluster), tmp_path) as on:
        _kill_and_heal(kafka_cluster, 1, on, away=0.5)
