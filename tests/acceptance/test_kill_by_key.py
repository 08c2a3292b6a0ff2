"""`kill -9` under load with `ordering="key"`: hundreds of keys are in progress, and what is done lies in no order.

No message is lost, few are handled again, the same key never runs twice at once, and each key keeps its order.
"""

from __future__ import annotations

import os
import random
import signal
from typing import TYPE_CHECKING

import pytest

from elsa import exits

from .driver import ASYNC_APP

if TYPE_CHECKING:
    from .conftest import SetStage
    from .driver import Call

pytestmark = [pytest.mark.broker, pytest.mark.slow]

KEYS = 1_000


def test_two_killed_processes_and_a_stopped_one_lose_nothing(set_stage: SetStage) -> None:
    """100,000 messages of 1,000 keys on 6 partitions, 100 calls at once in each of two processes."""
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage = set_stage()
    stage.source = ASYNC_APP
    stage.options = {"ordering": "key", "concurrency": 100}
    stage.produce(100_000, seconds=0.002, keys=KEYS)
    tree = stage.start("--processes", "2")
    tree.wait_ready(2)
    killed: list[int] = []
    stopped: list[int] = []

    goals = chance.randrange(10_000, 25_000), chance.randrange(30_000, 45_000), chance.randrange(50_000, 70_000)
    for number, handled in zip((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL), goals, strict=True):
        stage.wait_handled(handled)
        owners = stage.owners()
        gone = killed + stopped
        victim = chance.choice([pid for pid in tree.workers() if pid in owners.values() and pid not in gone])
        os.kill(victim, number)
        (killed if number == signal.SIGKILL else stopped).append(victim)
        tree.wait_ready(2 + len(gone) + 1)
    account = stage.wait_all(120)
    assert tree.stop() == exits.OK

    most = max_at_once(stage.calls())
    print(account, "in progress", account.in_progress(killed), "at once", most)
    assert account.lost == set()
    assert account.duplicates <= account.uncommitted(killed)
    assert account.disorder == []
    assert account.overlaps == []
    assert account.in_progress(stopped) == 0
    assert most > 100
    assert stage.committed() == stage.handled_through()


def max_at_once(calls: list[Call]) -> int:
    """How many calls that came to their end were in progress at the same time."""
    ended = {(call.pid, call.partition, call.offset) for call in calls if call.is_end}
    running = most = 0
    for call in calls:
        if (call.pid, call.partition, call.offset) in ended:
            running += -1 if call.is_end else 1
            most = max(most, running)
    return most
