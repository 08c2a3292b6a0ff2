"""Kafka is away for minutes under a worker that does all there is to do: it lives on, is not ready, and comes back.

Handlers send and wait for it, the mover holds delayed messages, the scheduler fires, and the limits that liveness is
judged by are as short as they can be: 6 s for a poll, 12 s for a join, 65 s for a call, 66 s for mover and scheduler.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.broker import EmbeddedKafka
from elsa.kafka import probe
from elsa.testing.kafka import require_embedded, unique_name

from .driver import APP, stage, until
from .health import Watch, ask, base_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .driver import Stage

pytestmark = [pytest.mark.broker, pytest.mark.slow, pytest.mark.timeout(480)]

#: a message is at its end when its copy has come through a delay topic
DELAYING = (
    APP.partition("@app.handler")[0]
    + """
@app.handler(PLAN["topic"], timeout=5)
def begin(event: Event, ctx: elsa.Context) -> None:
    note(0, ctx, event)
    if event.seconds:
        time.sleep(event.seconds)
    app.send(PLAN["topic"] + ".later", event, delay=1).wait()


@app.handler(PLAN["topic"] + ".later")
def end(event: Event, ctx: elsa.Context) -> None:
    note(1, ctx, event)


@app.every(1, name="tick")
@app.task(name="tick", topic=PLAN["topic"] + ".ticks")
def tick() -> None:
    with open(os.environ["TREE_JOURNAL"] + ".ticks", "a") as ticks:
        ticks.write("x")
"""
)
#: how long it is watched after the return, longer than the limit of a join
AFTER = 20.0


@pytest.fixture
def own_kafka() -> Iterator[EmbeddedKafka]:
    """One node that may be killed and stopped."""
    require_embedded()
    with EmbeddedKafka(ephemeral=True) as kafka:
        yield kafka


def _take_away(kafka: EmbeddedKafka, how: str) -> None:
    if how == "killed":
        kafka.kill_node(1)
    else:
        os.kill(kafka.pids[0], signal.SIGSTOP)


def _bring_back(kafka: EmbeddedKafka, how: str) -> None:
    if how == "killed":
        kafka.start_node(1)
    else:
        os.kill(kafka.pids[0], signal.SIGCONT)


@pytest.mark.parametrize(
    ("how", "seconds"),
    [("killed", 120), ("stopped", 45), ("stopped", 5)],
    ids=["killed for two minutes", "stopped for longer than a session", "stopped for a moment"],
)
def test_while_kafka_is_away_a_worker_lives_and_is_not_ready(
    own_kafka: EmbeddedKafka, tmp_path: Path, how: str, seconds: float
) -> None:
    kafka = own_kafka
    topic = unique_name("away")
    probe.create_topic(kafka.bootstrap, topic, 6)
    with stage(kafka.bootstrap, topic, tmp_path, max_poll_interval=6, session_timeout=6) as on:
        on.source = DELAYING
        on.produce(60)
        tree = on.start("--metrics-port", "0", "--processes", "2")
        tree.wait_ready(2)
        base = base_of(tree)
        on.wait_all()
        until(lambda: _ticks(on), "the schedule fires")
        until(lambda: ask(base, "/readyz")[0] == 200, "it is ready")
        pids = tree.workers()
        # some are in hand when Kafka goes, and wait for it
        on.produce(60, seconds=0.3)
        on.wait_handled(60)

        with Watch(base) as watch:
            until(lambda: watch.ready, "it is watched")
            away = watch.lasts()
            _take_away(kafka, how)
            time.sleep(seconds)  # how long it is away is the case
            back = watch.lasts()
            _bring_back(kafka, how)
            ticks = _ticks(on)
            on.produce(60)
            account = on.wait_all()
            until(lambda: _ticks(on) > ticks, "the schedule fires again")
            until(lambda: watch.ready[-1].status == 200, "it is ready again")
            whole = watch.lasts()
            time.sleep(AFTER)  # nothing may come of it later
        print(f"away after {away:.1f} s, back after {back:.1f} s, all is well after {whole:.1f} s; {account}")
        print(f"not ready from {[s.at for s in watch.ready if s.status != 200][:1]}")

        assert [str(sample) for sample in watch.live if sample.status != 200] == []
        _check_ready(watch, is_long=seconds > 20)
        assert account.lost == set()
        assert tree.workers() == pids
        assert ask(base, "/statusz")[1]["restarts"] == {}
        assert tree.stop() == exits.OK


def _check_ready(watch: Watch, *, is_long: bool) -> None:
    """It was ready, was not because of the brokers and of the sessions that end with them, and was again.

    A short absence need not be noticed.
    """
    turns = [status for status, _ in itertools.groupby(sample.status for sample in watch.ready)]
    assert turns == [200, 503, 200] or (turns == [200] and not is_long), turns
    unready = [sample for sample in watch.ready if sample.status != 200]
    assert any("brokers" in sample.failed for sample in unready) or not is_long
    assert [str(sample) for sample in unready if not set(sample.failed) <= {"brokers", "assignment"}] == []


def _ticks(on: Stage) -> int:
    path = on.folder / "journal.ticks"
    return path.stat().st_size if path.exists() else 0
