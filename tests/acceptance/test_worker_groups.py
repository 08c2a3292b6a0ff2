"""Several `elsa worker` on one host share a group: they hand over, come back from a freeze, and hold long handlers."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from elsa import exits

if TYPE_CHECKING:
    from .conftest import SetStage

pytestmark = [pytest.mark.broker, pytest.mark.slow]


def test_two_workers_share_the_partitions_and_one_leaves(set_stage: SetStage) -> None:
    stage = set_stage()
    stage.produce(20_000, seconds=0.001)
    first, second = stage.start(), stage.start()
    owners = stage.wait_shared(first, second)
    (leaver,) = second.workers()
    theirs = [partition for partition, owner in owners.items() if owner == leaver]

    moment = time.monotonic()
    second.signal(signal.SIGTERM)
    gap = stage.wait_served(theirs, moment, [leaver])
    assert second.code() == exits.OK
    account = stage.wait_all()
    assert first.stop() == exits.OK

    print(f"{len(theirs)} partitions served by the other {gap:.2f} s after TERM;", account)
    assert len(theirs) == 3
    assert (account.lost, account.duplicates, account.disorder, account.overlaps) == (set(), 0, [], [])


def test_long_handlers_never_cost_the_membership(set_stage: SetStage) -> None:
    """Six partitions, six messages, each running longer than max_poll_interval and session_timeout."""
    stage = set_stage(max_poll_interval=6, session_timeout=6)
    stage.produce(6, seconds=7)
    tree = stage.start("-c", "6")
    account = stage.wait_all()
    stage.produce(6)
    account = stage.wait_all()
    assert tree.stop() == exits.OK

    assert (account.lost, account.duplicates) == (set(), 0)
    assert tree.events("group_restart") + tree.events("kafka_error") == []
    # they ran side by side
    starts = [call.at for call in account.calls if not call.is_end][:6]
    assert max(starts) < min(call.at for call in account.calls if call.is_end)


def test_a_frozen_process_comes_back_under_a_new_assignment(set_stage: SetStage) -> None:
    """SIGSTOP for longer than the session timeout: others take over; SIGCONT: it is fenced, and joins anew."""
    stage = set_stage(session_timeout=6)
    stage.produce(16_000, seconds=0.005, padding=500)
    tree = stage.start("--processes", "2")
    owners = stage.wait_shared(tree)
    before = tree.workers()
    frozen = before[0]
    theirs = [partition for partition, owner in owners.items() if owner == frozen]

    moment = time.monotonic()
    os.kill(frozen, signal.SIGSTOP)
    try:
        gap = stage.wait_served(theirs, moment, [frozen])
    finally:
        os.kill(frozen, signal.SIGCONT)
    stage.wait_shared(tree)
    account = stage.wait_all()
    after = tree.workers()
    assert tree.stop() == exits.OK

    print(f"{len(theirs)} partitions served by the other after {gap:.1f} s;", account)
    assert account.lost == set()
    # what it had in progress and uncommitted ran elsewhere as well
    assert account.duplicates <= 2_000 + 1_000 * len(theirs)
    assert after == before
    assert tree.events("replaced") == []


def test_a_partition_that_went_while_it_was_paused_goes_on_when_it_comes_back(set_stage: SetStage) -> None:
    """Slow handlers over large messages: everything is paused for backpressure while it moves there and back."""
    stage = set_stage(partitions=2, max_in_flight=10)
    stage.produce(500, seconds=0.03, partitions=2, padding=8_000)
    first = stage.start()
    stage.wait_handled(50)
    second = stage.start()
    stage.wait_shared(first, second, partitions=2)
    assert second.stop() == exits.OK
    account = stage.wait_all()
    assert first.stop() == exits.OK

    assert (account.lost, account.duplicates, account.disorder, account.overlaps) == (set(), 0, [], [])
