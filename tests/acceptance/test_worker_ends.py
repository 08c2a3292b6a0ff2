"""`elsa worker` that ends by itself, caught up or after so many messages; and apps that can't be run."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import msgspec
import pytest
from confluent_kafka import Producer

import elsa
from elsa import exits
from elsa.broker import EmbeddedKafka
from elsa.broker.ports import free_ports
from elsa.testing.kafka import require_embedded, unique_name

from .driver import Event, stage, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from .conftest import SetStage
    from .driver import Stage

pytestmark = pytest.mark.broker


@contextlib.contextmanager
def transactions(stage: Stage) -> Iterator[Callable[..., None]]:
    """`add(id, commit=)` puts one message into partition 0 in a transaction of its own, which leaves a marker."""
    producer = Producer({"bootstrap.servers": stage.brokers, "transactional.id": stage.topic, "linger.ms": 0})
    producer.init_transactions(30)

    def add(number: int, *, commit: bool) -> None:
        producer.begin_transaction()
        producer.produce(stage.topic, msgspec.json.encode(Event(number)), key="marker", partition=0)
        producer.flush(30)
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)

    yield add
    producer.flush(30)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_burst_ends_when_everything_is_handled(set_stage: SetStage, processes: str) -> None:
    stage = set_stage()
    stage.produce(600)
    tree = stage.start("--burst", "--processes", processes)

    assert tree.code() == exits.OK

    account = stage.account()
    assert (account.lost, account.duplicates) == (set(), 0)
    assert stage.committed() == stage.handled_through()
    assert tree.members() == []


def test_burst_ends_behind_transaction_markers(set_stage: SetStage) -> None:
    """The log's last offsets are markers of transactions, which nobody is ever given."""
    stage = set_stage(partitions=2)
    stage.produce(4, partitions=2)
    with transactions(stage) as add:
        add(4, commit=True)
        add(1_000, commit=False)
    tree = stage.start("--burst")

    assert tree.code() == exits.OK
    assert [call.id for call in stage.calls() if call.is_end and call.partition == 0] == [0, 2, 4]
    # two messages, one and a marker, one aborted and its marker
    assert stage.committed() == {0: 6, 1: 2}
    assert sum(each.lag for each in stage.client.groups.lag(stage.app)) == 0


def test_burst_ends_behind_a_compacted_tail(set_stage: SetStage) -> None:
    """Compaction has taken the last messages away: the log's end lies far above the last one that is left."""
    config = {
        "cleanup.policy": "compact",
        "min.cleanable.dirty.ratio": "0.001",
        "max.compaction.lag.ms": "100",
        "segment.ms": "100",
        "delete.retention.ms": "1",
    }
    stage = set_stage(partitions=1, config=config)
    client, name = stage.client, stage.topic
    client.produce(name, elsa.Record(msgspec.json.encode(Event(0)), key="kept"))
    client.produce(name, [elsa.Record(msgspec.json.encode(Event(n)), key="gone") for n in (1, 2, 3)])
    client.produce(name, elsa.Record(None, key="gone"))
    with transactions(stage) as add:

        def is_clean() -> bool:
            # what comes later closes a segment, and only closed ones are cleaned
            add(1_000, commit=False)
            return [message.offset for message in client.stream(name)] == [0]

        until(is_clean, "the log is compacted")
    tree = stage.start("--burst")

    assert tree.code() == exits.OK
    assert [call.offset for call in stage.calls() if call.is_end] == [0]
    assert stage.committed() == {0: client.topics.watermarks(name)[0][1]}


@pytest.mark.parametrize(("processes", "count"), [("1", 250), ("2", 251)])
def test_max_messages_handles_exactly_so_many(set_stage: SetStage, processes: str, count: int) -> None:
    stage = set_stage()
    stage.produce(2_000)
    tree = stage.start("--max-messages", str(count), "--processes", processes)

    assert tree.code() == exits.OK
    account = stage.account()
    assert (len(account.started), account.duplicates) == (count, 0)
    assert sum(stage.committed().values()) == count

    rest = stage.start("--burst")
    assert rest.code() == exits.OK
    account = stage.account()
    assert (account.lost, account.duplicates) == (set(), 0)


def test_a_module_that_does_not_exist_is_named(set_stage: SetStage) -> None:
    stage = set_stage()
    tree = stage.start(json_logs=False, target="nowhere:app")

    assert tree.code() == exits.APP_NOT_FOUND
    assert "error:" in tree.log.lower()
    assert "nowhere" in tree.log
    assert "Traceback" not in tree.log


def test_a_module_that_raises_shows_its_traceback(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.source = stage.source.replace("class Event", "PLAN['no such option']\n\n\nclass Event", 1)
    tree = stage.start("--processes", "2", json_logs=False)

    assert tree.code() == exits.APP_NOT_FOUND
    assert "KeyError: 'no such option'" in tree.log
    assert "handlers.py" in tree.log
    assert tree.log.count("KeyError: 'no such option'") == 1
    assert tree.members() == []


def test_an_app_without_handlers_is_refused(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.source = "import elsa\napp = elsa.App('empty')\n"
    tree = stage.start(json_logs=False)

    assert tree.code() == exits.USAGE
    assert "no handler" in tree.log
    assert "Traceback" not in tree.log


def test_a_wrong_declaration_is_shown_without_a_traceback(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.options = {"orderin": "key"}
    tree = stage.start(json_logs=False)

    assert tree.code() == exits.USAGE
    assert "orderin" in tree.log
    assert "ordering" in tree.log


def test_a_worker_waits_for_a_broker_that_is_not_there_yet(tmp_path: Path) -> None:
    require_embedded()
    (port,) = free_ports(1)
    topic = unique_name("late")
    with stage(f"127.0.0.1:{port}", topic, tmp_path) as on:
        tree = on.start()
        until(lambda: "Connection refused" in tree.log or "waiting for it" in tree.log, "the trouble is told")
        time.sleep(4)  # how often it is told in that time is the test
        told = [line for line in tree.log.splitlines() if '"warning"' in line or '"error"' in line]
        assert tree.process.poll() is None
        assert any("127.0.0.1" in line for line in told)

        with EmbeddedKafka(ephemeral=True, port=port):
            tree.wait_ready()
            on.produce(60)
            account = on.wait_all()
            assert tree.stop() == exits.OK

    assert (account.lost, account.duplicates) == (set(), 0)
    assert len(told) <= 5, told


def test_a_stop_does_not_wait_for_a_broker_that_is_not_there(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with stage(f"127.0.0.1:{port}", unique_name("never"), tmp_path) as on:
        tree = on.start("--processes", "2")
        until(lambda: "waiting for it" in tree.log, "the trouble is told")

        began = time.monotonic()
        assert tree.stop(20) == exits.OK
        print(f"stopped in {time.monotonic() - began:.2f} s")
        assert tree.members() == []
