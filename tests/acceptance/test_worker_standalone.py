"""A standalone handler (no group) in two processes: each partition is read once, also when a process is killed."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from elsa import exits

if TYPE_CHECKING:
    from .conftest import SetStage

pytestmark = pytest.mark.broker


def test_two_processes_read_each_partition_once(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.options = {"group": None, "start": "earliest"}
    stage.produce(3_000)
    tree = stage.start("--processes", "2")
    account = stage.wait_all()
    first, second = tree.workers()
    shares = [{call.partition for call in account.calls if call.pid == pid} for pid in (first, second)]
    assert tree.stop() == exits.OK

    assert sorted(map(sorted, shares)) == [[0, 2, 4], [1, 3, 5]]
    assert (account.lost, account.duplicates, account.disorder) == (set(), 0, [])
    assert stage.committed() == {}


def test_a_respawned_process_goes_on_at_the_last_reported_position(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.options = {"group": None, "start": "earliest"}
    stage.produce(20_000, seconds=0.001)
    tree = stage.start("--processes", "2")
    stage.wait_handled(10_000)
    victim = tree.workers()[0]
    theirs = {call.partition for call in stage.calls() if call.pid == victim}

    moment = time.monotonic()
    os.kill(victim, signal.SIGKILL)
    gap = stage.wait_served(theirs, moment, [victim])
    account = stage.wait_all()
    assert tree.stop() == exits.OK

    print(f"read again after {gap:.2f} s;", account)
    assert account.lost == set()
    assert account.disorder == []
    # positions are reported once a second, and these handlers do about 1,000 a second in each partition
    again = {call.offset for call in account.calls if not call.is_end and call.at > moment and call.partition in theirs}
    assert min(again) > 0
    assert account.duplicates < 10_000 // 2


def test_positions_do_not_outlive_the_worker(set_stage: SetStage) -> None:
    """What starts at the end of the log reads only what comes after, each time."""
    stage = set_stage()
    stage.options = {"group": None}
    stage.produce(60)
    for _ in range(2):
        tree = stage.start()
        tree.wait_ready()
        wanted = stage.records + 12
        stage.produce(6)
        stage.wait_handled(wanted // 2)
        assert tree.stop() == exits.OK
        stage.produce(6)

    assert sorted(call.id for call in stage.calls() if call.is_end) == [*range(60, 66), *range(72, 78)]
