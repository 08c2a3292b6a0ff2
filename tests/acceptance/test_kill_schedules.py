"""`kill -9` at any moment among three processes that fire periodic tasks: each fire time is sent once, and runs."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import defaultdict
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.kafka import probe
from elsa.names import schedules_topic

from .driver import until

if TYPE_CHECKING:
    from .conftest import SetStage

pytestmark = [pytest.mark.broker, pytest.mark.slow]

SECONDS = 20.0
APP = """
import json, os
import elsa

PLAN = json.loads(os.environ["TREE_PLAN"])
JOURNAL = os.open(os.environ["TREE_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
app = elsa.App(PLAN["app"], **PLAN["settings"])


@app.every(1, name="one")
@app.every(1, name="two")
@app.every(1, name="three")
@app.every(2, name="four")
@app.cron("* * * * *", name="minute")
@app.task(name="tick", topic=PLAN["topic"])
def tick() -> None:
    ident = dict(elsa.current().message.headers)["elsa-id"]
    os.write(JOURNAL, ident + b"\\n")
"""
PERIODS = {"one": 1, "two": 1, "three": 1, "four": 2}


def test_each_fire_time_is_sent_once_and_runs_through_kills(set_stage: SetStage) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage = set_stage()
    stage.source = APP
    client = stage.client

    def ids() -> list[str]:
        # the reader takes what is committed
        return [(message.header("elsa-id") or b"").decode() for message in client.stream(stage.topic)]

    def ran() -> set[str]:
        return set(stage.journal_path.read_text().split())

    try:
        tree = stage.start("--processes", "3")
        tree.wait_ready(3)
        until(lambda: len(ids()) >= 10, "periodic tasks fire")
        killed = 0
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.2, 2.5))  # what is killed at which moment is the test
            if len(workers := tree.workers()) == 3:
                os.kill(chance.choice(workers), signal.SIGKILL)
                killed += 1
        last = time.time()
        until(lambda: all(at[-1] > last for at in fire_times(ids()).values()), "all schedules fire again")
        # what the killed ones had in hand comes again in its own time
        until(lambda: {one for one in ids() if moment(one) <= last} <= ran(), "all calls until then have run")
        assert tree.stop() == exits.OK
        sent, done = ids(), ran()
    finally:
        for each in stage.trees:
            each.end()
        client.topics.delete(schedules_topic(stage.app), missing_ok=True)
        probe.delete_groups(stage.brokers, [f"{stage.app}.scheduler", f"{stage.app}.mover"])

    print(f"{killed} kills, {len(sent)} calls")
    assert killed >= 3
    assert len(sent) == len(set(sent))
    for name, times in fire_times(sent).items():
        assert times == [times[0] + PERIODS[name] * number for number in range(len(times))], name
    assert done <= set(sent)


def moment(ident: str) -> float:
    return datetime.fromisoformat(ident.partition(":")[2]).timestamp()


def fire_times(ids: list[str]) -> dict[str, list[float]]:
    """The fire times of each schedule in their order."""
    found: dict[str, list[float]] = defaultdict(list)
    for ident in ids:
        if (name := ident.partition(":")[0]) in PERIODS:
            found[name].append(moment(ident))
    return {name: sorted(times) for name, times in found.items()}
