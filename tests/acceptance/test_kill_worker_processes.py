"""`kill -9` of worker processes under load, and of the supervisor: no message is lost, few are handled again.

What may be handled twice is what was in progress and what the last commits did not cover yet: at most 2,000
messages for each killed process.
"""

from __future__ import annotations

import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from elsa import exits

if TYPE_CHECKING:
    from .conftest import SetStage

pytestmark = [pytest.mark.broker, pytest.mark.slow]

GENERATIONS = """

GENERATIONS = set()


@app.on_shutdown
def tell() -> None:
    print(json.dumps({"event": "generations", "seen": sorted(GENERATIONS)}), flush=True)
"""


def test_two_killed_worker_processes_lose_nothing(set_stage: SetStage) -> None:
    """100,000 messages of 1 ms on 6 partitions, two processes: one is killed, later the other."""
    seed = random.SystemRandom().randrange(1_000_000)
    print(f"seed {seed}")
    chance = random.Random(seed)
    stage = set_stage()
    stage.produce(100_000, seconds=0.001)
    tree = stage.start("--processes", "2")
    tree.wait_ready(2)
    killed: list[int] = []

    for handled in (chance.randrange(10_000, 40_000), chance.randrange(50_000, 80_000)):
        stage.wait_handled(handled)
        owners = stage.owners()
        victim = chance.choice([pid for pid in tree.workers() if pid in owners.values() and pid not in killed])
        moment = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)
        tree.wait_ready(2 + len(killed))
        theirs = [partition for partition, owner in owners.items() if owner == victim]
        gap = stage.wait_served(theirs, moment, killed)
        print(f"killed at {handled}: {len(theirs)} partitions, served again after {gap:.2f} s")
    account = stage.wait_all(120)
    assert tree.stop() == exits.OK

    print(account, "in progress", account.in_progress(killed))
    assert account.lost == set()
    assert account.duplicates <= account.uncommitted(killed)
    assert account.disorder == []
    assert account.overlaps == []


def test_term_of_the_whole_worker_loses_and_repeats_nothing(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(20_000, seconds=0.001)
    first = stage.start("--processes", "2")
    stage.wait_handled(6_000)

    assert first.stop() == exits.OK
    assert first.members() == []
    assert stage.committed() == stage.handled_through()
    handled = len(stage.account().started)
    assert handled < 20_000

    second = stage.start("--processes", "2")
    account = stage.wait_all()
    assert second.stop() == exits.OK
    print(f"stopped after {handled};", account)
    assert (account.lost, account.duplicates, account.disorder, account.overlaps) == (set(), 0, [], [])


def test_term_of_one_process_repeats_nothing_and_it_is_replaced(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(20_000, seconds=0.001)
    tree = stage.start("--processes", "2")
    owners = stage.wait_shared(tree)
    before = tree.workers()
    victim = before[0]

    moment = time.monotonic()
    os.kill(victim, signal.SIGTERM)
    tree.wait_ready(3)
    account = stage.wait_all()
    gaps = [account.gap(p, moment, [victim]) for p, owner in owners.items() if owner == victim]
    after = tree.workers()
    assert tree.stop() == exits.OK

    stall = account.stall(moment - 0.5, moment + 3)
    print(f"others took over {max(gaps):.2f} s after TERM, longest stall {stall:.2f} s;", account)
    assert len(after) == 2
    assert victim not in after
    assert (account.lost, account.duplicates, account.disorder, account.overlaps) == (set(), 0, [], [])


def test_a_rolling_restart_repeats_nothing_and_the_group_never_rebalances(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.source = stage.source.replace("note(1,", "GENERATIONS.add(ctx.generation); note(1,") + GENERATIONS
    stage.produce(30_000, seconds=0.001)
    tree = stage.start("--processes", "2")
    tree.wait_ready(2)
    stage.wait_shared(tree)
    before = tree.workers()

    moment = time.monotonic()
    tree.signal(signal.SIGHUP)
    tree.wait_ready(4)
    over = time.monotonic()
    after = tree.workers()
    account = stage.wait_all()
    assert tree.stop() == exits.OK

    seen = [set(entry["seen"]) for entry in tree.events("generations")]
    print(
        f"rolled in {over - moment:.2f} s, longest stall {account.stall(moment - 0.5, over + 1):.2f} s;", account, seen
    )
    assert set(before).isdisjoint(after)
    assert len(after) == 2
    assert (account.lost, account.duplicates, account.disorder, account.overlaps) == (set(), 0, [], [])
    # no rebalance: the successors go on in the generation that the group had
    assert seen[2:] == [{max(seen[0] | seen[1])}] * 2


def test_workers_stop_by_themselves_when_the_supervisor_is_killed(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(20_000, seconds=0.001)
    tree = stage.start("--processes", "2")
    stage.wait_handled(4_000)

    tree.signal(signal.SIGKILL)
    tree.wait_gone()

    account = stage.account()
    print(account)
    assert len(account.started) < 20_000
    assert stage.committed() == stage.handled_through()
    assert account.in_progress({call.pid for call in account.calls}) == 0

    successor = stage.start("--processes", "2")
    account = stage.wait_all()
    assert successor.stop() == exits.OK
    assert (account.lost, account.duplicates, account.disorder, account.overlaps) == (set(), 0, [], [])


def test_a_new_worker_goes_on_when_all_processes_were_killed(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(20_000, seconds=0.001)
    tree = stage.start("--processes", "2")
    stage.wait_handled(6_000)
    killed = tree.workers()
    moment = time.monotonic()
    # the supervisor first: it would replace them
    tree.signal(signal.SIGKILL)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    tree.wait_gone()

    successor = stage.start("--processes", "2")
    account = stage.wait_all()
    assert successor.stop() == exits.OK

    slots = {entry["slot"] for entry in successor.events("ready")}
    print(f"served again after {max(account.gap(p, moment, killed) for p in range(6)):.2f} s;", account)
    assert slots == {0, 1}
    assert account.lost == set()
    assert account.duplicates <= account.uncommitted(killed)
    assert account.disorder == []
    assert account.overlaps == []
