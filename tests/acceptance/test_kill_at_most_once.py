"""`delivery="at_most_once"` through kills and orderly ends: nothing runs twice, a kill loses a slice of a partition."""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from elsa import exits
from elsa.worker.assigned import SLICE_AT_ONCE

from .driver import until

if TYPE_CHECKING:
    from .conftest import SetStage

pytestmark = [pytest.mark.broker, pytest.mark.slow]

PARTITIONS = 6


def test_nothing_runs_twice_and_a_kill_loses_little(set_stage: SetStage) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage = set_stage(PARTITIONS)
    stage.options = {"delivery": "at_most_once", "ordering": "key", "concurrency": 16}
    stage.produce(20_000, seconds=0.002, keys=500)
    tree = stage.start("--processes", "2")
    tree.wait_ready(2)
    killed: list[int] = []
    gone: list[int] = []
    for number, handled in ((signal.SIGKILL, 3_000), (signal.SIGTERM, 7_000), (signal.SIGKILL, 11_000)):
        stage.wait_handled(handled + chance.randrange(1_000))
        victim = chance.choice([pid for pid in tree.workers() if pid not in gone])
        os.kill(victim, number)
        gone.append(victim)
        if number == signal.SIGKILL:
            killed.append(victim)
        tree.wait_ready(2 + len(gone))
    until(lambda: sum(stage.committed().values()) == 20_000, "everything is committed", 120)
    # SIGTERM drains: what was taken is over by then
    assert tree.stop() == exits.OK

    account = stage.account()
    print(account, "lost", len(account.lost))
    assert account.duplicates == 0
    assert account.disorder == []
    assert len(account.lost) <= len(killed) * PARTITIONS * SLICE_AT_ONCE


def test_orderly_ends_lose_nothing(set_stage: SetStage) -> None:
    """Rolling restarts and a stop under load."""
    stage = set_stage(PARTITIONS)
    stage.options = {"delivery": "at_most_once", "concurrency": 8}
    stage.produce(6_000, seconds=0.002)
    tree = stage.start("--processes", "2")
    tree.wait_ready(2)
    stage.wait_handled(1_000)
    tree.signal(signal.SIGHUP)
    stage.wait_handled(2_500)
    assert tree.stop() == exits.OK
    second = stage.start()
    account = stage.wait_all(120)
    assert second.stop() == exits.OK

    assert (account.lost, account.duplicates, account.disorder) == (set(), 0, [])
