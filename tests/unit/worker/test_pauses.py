"""What an operator pauses stays paused through all that may happen to a partition, and nothing of it is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from elsa.message import TopicPartition
from elsa.worker import revival
from elsa.worker.pace import Pace
from elsa.worker.snapshots import snapshots

from .simulation import GROUP, TOPIC

if TYPE_CHECKING:
    from .simulation import Broker, Join, Member

ZERO = TopicPartition(TOPIC, 0)


@pytest.fixture
def join(join: Join) -> Join:
    """Its members own both partitions; nothing has begun yet."""

    def make(**fields: Any) -> Member:
        member = join(most=4, **fields)
        member.turn()
        return member

    return make


def work(member: Member, *, rounds: int = 5) -> None:
    """Some rounds in which everything begins and ends that can."""
    for _ in range(rounds):
        member.turn()
        while member.begin():
            pass
        while member.calls:
            member.finish()


def paused(member: Member) -> list[str | None]:
    """Why each partition takes nothing, as everybody is told."""
    return [snapshot.paused for snapshot in snapshots(member.manager)]


@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
def test_nothing_begins_while_it_is_paused_and_everything_afterwards(join: Join, broker: Broker, ordering: str) -> None:
    """A call runs, others wait in lanes, others were received and not handed over, others lie in Kafka."""
    member = join(ordering=ordering, options={"max_in_flight": 3})
    assert member.begin()
    begun = list(member.started)
    assert member.pause() == [0, 1]
    work(member)
    assert member.started == begun
    assert paused(member) == ["operator", "operator"]
    # what ran has ended and is committed
    assert sum(len(done) for done in broker.done.values()) == 1
    assert sum(commit.offset for commit in broker.commits.values()) == 1

    assert member.resume() == [0, 1]
    member.run_dry()
    assert paused(member) == [None, None]
    assert sorted(member.started) == sorted({(w, raw.offset()) for w, log in broker.logs.items() for raw in log})


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ({}, [0, 1]),
        ({"partition": 1}, [1]),
        ({"topic": TOPIC}, [0, 1]),
        ({"topic": TOPIC, "partition": 0}, [0]),
        ({"topic": "other"}, []),
        ({"group": GROUP}, [0, 1]),
        ({"group": "other"}, []),
        ({"handler": "other"}, []),
    ],
)
def test_a_target_says_what_is_paused(join: Join, target: dict[str, Any], meant: list[int]) -> None:
    member = join()
    assert member.pause(**target) == meant
    work(member)

    assert {where.partition for where, _ in member.started} == {0, 1} - set(meant)


def test_a_part_of_what_was_paused_goes_on(join: Join) -> None:
    member = join()
    name = member.manager.bindings[0].name
    member.pause(handler=name)
    member.resume(partition=1)
    work(member)
    assert {where.partition for where, _ in member.started} == {1}
    # the later wish decides, and replaces what it covers
    member.pause(topic=TOPIC)
    assert member.manager.assignment.owned[TopicPartition(TOPIC, 1)].is_paused
    member.resume()
    assert member.manager.pauses._wishes == []
    member.run_dry()


def test_a_partition_that_goes_and_comes_back_is_still_paused(join: Join) -> None:
    member = join()
    member.pause(partition=0)
    member.rebalance(revoke=[0])
    member.turn()
    assert member.owned == [1]
    # one may be paused before it is here
    member.rebalance(assign=[0])
    work(member)
    assert {where.partition for where, _ in member.started} == {1}
    assert member.consumer.paused == {ZERO}

    member.resume(partition=0)
    member.run_dry()


def test_a_worker_that_crashes_begins_anew_paused(join: Join, broker: Broker) -> None:
    member = join()
    assert member.begin()
    crashed = member.calls[0].worker.partition
    member.pause()
    member.finish(0, SystemExit(1))
    for _ in range(3):
        member.turn()
        member.clock.advance(60)
        work(member)
    assert len(member.started) == 1
    assert member.manager.assignment.owned[crashed].held is None
    assert paused(member) == ["operator", "operator"]

    member.resume()
    member.run_dry()
    assert broker.is_all_done()


def test_a_retry_that_falls_due_waits_for_the_end_of_the_pause(join: Join) -> None:
    member = join(ordering="partition")
    assert member.begin()
    where = member.calls[0].worker.partition
    member.finish(0, ValueError("not yet"))
    member.pause()
    member.clock.advance(60)
    work(member)
    assert member.started == [(where, 0)]

    member.resume()
    member.run_dry()
    assert member.started.count((where, 0)) == 2


def test_that_commits_are_in_time_again_does_not_end_a_pause(join: Join) -> None:
    member = join()
    member.pause()
    member.manager.assignment.set_flow(False)
    member.manager.assignment.set_flow(True)
    work(member)
    assert member.started == []

    # nor does the end of a pause let lanes run that wait for a commit
    member.manager.assignment.set_flow(False)
    member.resume()
    assert not member.begin()
    member.manager.assignment.set_flow(True)
    member.run_dry()


def test_what_waits_paused_does_not_keep_the_manager_awake(join: Join) -> None:
    """Messages that wait for room are looked at 200 times a second; these would be for hours."""
    member = join(options={"max_in_flight": 1})
    member.pause()
    work(member)

    assert any(assigned.overflow for assigned in member.manager.assignment.owned.values())
    assert not member.manager.assignment.is_waiting


def test_a_quiet_worker_fetches_nothing_when_a_pause_ends(join: Join) -> None:
    member = join()
    member.pause()
    member.manager.be_quiet()
    member.resume()
    work(member)

    assert member.consumer.paused == {ZERO, TopicPartition(TOPIC, 1)}


def test_a_halted_partition_begins_anew(join: Join, broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revival, "MOST_CRASHES", 2)
    member = join()
    assigned = member.manager.assignment.owned[ZERO]
    for _ in range(10):
        work_with_crashes(member)
        member.clock.advance(60)
    assert assigned.held == "halted"
    assert member.resume(partition=0) == [0]
    assert assigned.held is None
    # its crashes count from none: one more does not halt it again
    member.turn()
    work_with_crashes(member)
    assert assigned.held == "restarting"

    member.clock.advance(60)
    member.run_dry()
    assert broker.is_all_done()


def work_with_crashes(member: Member) -> None:
    """Every call of the first partition crashes."""
    member.turn()
    while member.begin():
        pass
    while member.calls:
        member.finish(0, SystemExit(1) if member.calls[0].worker.partition == ZERO else None)
    member.turn()


def test_a_rate_that_is_changed_holds_at_once(join: Join) -> None:
    """At one an hour the second message would wait; what was reserved for it counts no more."""
    member = join(ordering="none", options={"rate": "1/h"})
    handler = member.manager.bindings[0].first
    paces = member.manager._around.paces
    work(member)
    assert len(member.started) == 1

    paces.set_rate(handler, None)
    member.manager.assignment.regulate(handler)
    work(member)
    assert len(member.started) == 12
    pace = paces.of(handler)
    assert pace is None
    paces.set_rate(handler, 3.0)
    pace = paces.of(handler)
    assert isinstance(pace, Pace)
    assert pace.here == 3.0
