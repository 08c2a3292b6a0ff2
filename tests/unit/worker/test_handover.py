"""How partitions leave a member, and how one whose worker crashed begins anew; with a scripted consumer and clock."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from elsa.message import TopicPartition
from elsa.policies.backoff import Backoff
from elsa.worker import group, reports, revival
from elsa.worker.mailbox import Stop
from elsa.worker.progress import decode

from .simulation import TOPIC, Broker, Member, filled

if TYPE_CHECKING:
    from .simulation import Call, Join

pytestmark = pytest.mark.usefixtures("simulated_time")

ZERO, ONE = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


@pytest.fixture
def broker() -> Broker:
    """Two partitions, and twelve messages in the first one, each of a key of its own."""
    return filled(12, 0)


@pytest.fixture
def join(join: Join) -> Join:
    """Its members own both partitions and have begun four calls of the first one."""

    def make(**fields: Any) -> Member:
        member = join(most=4, **fields)
        work(member)
        return member

    return make


def work(member: Member) -> None:
    """One round, and all calls begin that can."""
    member.turn()
    while member.begin():
        pass


def finish(member: Member, offset: int, end: Any = None, partition: int = 0) -> None:
    """Let the call of this offset end."""
    places = [(call.worker.partition.partition, call.raw.offset()) for call in member.calls]
    member.finish(places.index((partition, offset)), end)


def running(member: Member) -> list[int]:
    return [call.raw.offset() for call in member.calls if call.worker.partition == ZERO]


def begin_anew(member: Member) -> None:
    """Let time pass until a partition whose calls have all ended runs again."""
    member.turn()
    member.clock.advance(60)
    for _ in range(3):
        work(member)


def test_calls_beside_one_that_crashes_count_and_nothing_begins_before_they_have_ended(join: Join) -> None:
    member = join()
    assert running(member) == [0, 1, 2, 3]
    finish(member, 1, SystemExit(1))
    finish(member, 3)
    member.clock.advance(60)
    work(member)
    assert running(member) == [0, 2]
    assert member.manager.assignment.owned[ZERO].held == "restarting"

    finish(member, 0)
    finish(member, 2)
    begin_anew(member)
    starts = [offset for where, offset in member.started if where == ZERO]
    assert starts[:5] == [0, 1, 2, 3, 1]
    assert len(set(starts[5:]) & {0, 2, 3}) == 0
    assert member.manager.assignment.owned[ZERO].held is None


def test_two_messages_that_crash_in_turns_are_halted_in_the_end(
    join: Join, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revival, "MOST_CRASHES", 3)
    member = join()
    assigned = member.manager.assignment.owned[ZERO]
    for number in range(20):
        if assigned.held == "halted":
            break
        at = (1, 2)[number % 2]
        finish(member, at, SystemExit(1))
        for offset in running(member):
            # the other one crashes, too, but the partition is down already
            finish(member, offset, SystemExit(2) if offset in (1, 2) else None)
        begin_anew(member)

    assert assigned.held == "halted"
    starts = [offset for where, offset in member.started if where == ZERO]
    assert 4 <= starts.count(1) <= 8
    assert starts.count(0) == starts.count(3) == 1
    # and what stood beside them is known to be done
    broker.produce(1, b"a")
    for _ in range(15):
        work(member)
        while member.calls:
            member.finish()
    assert broker.says_done(ZERO, 3)
    assert not broker.says_done(ZERO, 1)
    assert broker.commits[ONE].offset == 1


def test_the_late_result_of_a_partition_that_went_away_is_ignored_and_counted(
    join: Join, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    member = join(policy=lambda _: "hang")
    monkeypatch.setattr(member.manager.observer, "stale", counted.append)
    late: list[Call] = list(member.calls)
    member.rebalance(revoke=[0])
    member.turn()
    assert member.owned == [1]
    assert not member.manager.handover.stopped_cleanly
    member.rebalance(assign=[0])
    for call in late:
        if call.worker.partition == ZERO:
            finish(member, call.raw.offset())
    member.turn()

    assert counted == [1] * 4
    assert member.manager.assignment.owned[ZERO].tracker.finished == 0


def test_what_was_lost_is_cancelled_and_not_committed(join: Join, broker: Broker) -> None:
    member = join(policy=lambda _: "hang")
    finish(member, 0)
    member.consumer.answers.append(False)
    member.rebalance(lost=[0])
    for _ in range(15):
        member.turn()

    assert ZERO not in broker.commits
    assert member.owned == [1]


def test_what_is_cut_off_is_named_by_its_partition_where_no_call_can_be_named(
    join: Join, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A turn may be between two calls, or over and not settled."""
    member = join(policy=lambda _: "hang")
    monkeypatch.setattr(reports, "calls", lambda _: [])
    member.rebalance(lost=[0])
    member.turn()

    (line,) = [vars(each) for each in caplog.records if "partition lost" in each.getMessage()]
    assert line["group"] == member.manager.group
    assert (line["topic"], line["partition"]) == ZERO


@pytest.mark.parametrize("policy", ["finish", "hang"])
def test_calls_of_a_lost_partition_that_return_make_no_stop_a_forced_one(join: Join, policy: str) -> None:
    member = join(policy=lambda _: policy)
    assert member.calls
    member.rebalance(lost=[0])
    member.turn()

    assert member.owned == [1]
    assert member.manager.handover.stopped_cleanly == (policy == "finish")


def test_a_partition_that_is_revoked_while_it_starts_anew_stays_away(join: Join, broker: Broker) -> None:
    member = join()
    finish(member, 2, SystemExit(1))
    finish(member, 3)
    for offset in (0, 1):
        finish(member, offset)
    member.turn()
    member.rebalance(revoke=[0])
    member.turn()
    member.clock.advance(60)
    work(member)

    assert member.owned == [1]
    assert running(member) == []
    # what ended well beside the crash is known to whoever comes next
    assert broker.commits[ZERO].offset == 2
    assert broker.says_done(ZERO, 3)
    assert not broker.says_done(ZERO, 2)


def test_a_stop_drains_commits_and_gives_everything_up(join: Join, broker: Broker) -> None:
    member = join()
    finish(member, 1)
    member.stop()

    assert member.owned == []
    assert member.manager.handover.stopped_cleanly
    assert broker.commits[ZERO].offset == 4
    assert len(member.started) == len(broker.done[ZERO]) + len(broker.done[ONE])


def test_a_revoke_during_a_stop_does_not_begin_its_drain_anew(join: Join) -> None:
    """What is left of `stop_timeout` is for the last commit and the leave."""
    asked = 0

    def policy(member: Member) -> str:
        nonlocal asked
        if not asked and member.clock.monotonic() > began + member.app.settings.drain_timeout / 2:
            asked += 1
            member.rebalance(revoke=[0, 1])
        return "wait"

    member = join(policy=policy)
    began = member.clock.monotonic()
    member.stop(4 * member.app.settings.drain_timeout)

    assert asked
    assert member.clock.monotonic() - began < 2 * member.app.settings.drain_timeout
    assert member.owned == []


def test_a_revoke_during_a_stop_does_not_wait_for_a_coordinator_that_is_away(join: Join, broker: Broker) -> None:
    def policy(member: Member) -> str:
        if member.clock.monotonic() > began + 5 and not member.consumer.callbacks:
            member.rebalance(revoke=list(member.owned))
        return "wait"

    member = join(policy=policy)
    member.consumer.is_silent = True
    finish(member, 0)
    began = member.clock.monotonic()
    member.stop(4 * member.app.settings.drain_timeout)

    assert member.owned == []
    # it comes again
    assert ZERO not in broker.commits


def test_what_ends_while_a_revoke_during_a_stop_cancels_is_committed(join: Join, broker: Broker) -> None:
    """Within a callback no answer can come: a commit that is under way then says nothing of the coordinator."""
    began = 0.0

    def policy(member: Member) -> str:
        if member.consumer.under_way and not member.consumer.callbacks and member.owned:
            member.rebalance(revoke=list(member.owned))
        is_cancelled = member.clock.monotonic() >= began + member.app.settings.drain_timeout
        return "finish" if is_cancelled else "wait"

    member = join(policy=policy)
    member.clock.advance(member.app.settings.commit_interval)
    finish(member, 0)
    began = member.clock.monotonic()
    member.stop(4 * member.app.settings.drain_timeout)

    assert member.owned == []
    assert broker.done[ZERO] >= {0, 1}
    assert all(broker.says_done(ZERO, offset) for offset in broker.done[ZERO])


def test_a_stop_does_not_wait_for_a_manager_whose_thread_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no client to be drained: told to stop while it waits to make another."""
    member = Member(Broker(1))
    manager = member.manager

    def refuse() -> Any:
        manager.stopping = Stop(0.0, leave=True)
        raise RuntimeError("no client")

    monkeypatch.setattr(manager.membership, "make_consumer", refuse)
    manager._thread = threading.Thread(target=manager._main)
    manager._thread.start()
    manager._thread.join()
    found: list[bool] = []
    stop = threading.Thread(target=lambda: found.append(manager.ended(manager.clock.monotonic() + 3600)), daemon=True)
    stop.start()
    stop.join(30)
    member.end()

    assert found == [True]


class Closing:
    """A client that is a long time closing."""

    def __init__(self) -> None:
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def close(self) -> None:
        self.has_begun.set()
        assert self.may_end.wait(30)


@pytest.mark.parametrize("is_drained", [True, False])
def test_a_client_that_does_not_close_is_left_behind_when_nothing_else_is_to_be_done(
    *, is_drained: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group, "CLOSE_SECONDS", 0.05)
    member = Member(Broker(1))
    manager, client = member.manager, Closing()
    monkeypatch.setattr(manager.membership, "make_consumer", lambda: client)
    monkeypatch.setattr(manager.membership, "join", lambda: None if is_drained else client.close())
    monkeypatch.setattr(manager.handover, "drain", lambda _: None)
    manager.stopping = Stop(0.0, leave=True)
    thread = threading.Thread(target=manager._session, args=(Backoff(first=1, most=1),))
    manager._thread = thread
    thread.start()
    assert client.has_begun.wait(30)
    ended = manager.ended(manager.clock.monotonic() + 0.1)
    place = manager.place()
    client.may_end.set()
    thread.join()
    member.end()

    assert ended == is_drained
    assert "in close" in place
    assert manager.place() == ""


@pytest.mark.parametrize("how", ["stop", "revoke"])
def test_attempts_that_failed_just_before_the_end_are_committed(how: str) -> None:
    """Or a message that fails whenever its worker is stopped would begin with the same attempt for ever."""
    broker = Broker(1)
    for key in (b"a", b"b"):
        broker.produce(0, key)
    member = Member(broker)
    member.rebalance(assign=[0])
    work(member)
    finish(member, 0)
    for _ in range(12):
        member.turn()
    finish(member, 1, ValueError("no"))
    if how == "stop":
        member.stop()
    else:
        member.rebalance(revoke=[0])
        member.consumer.poll(0, 100)
    member.end()
    commit = broker.commits.get(ZERO)
    told = None if commit is None else decode(commit.metadata, commit.offset)

    assert told is not None
    assert told.attempts == {1: 1}


def test_what_a_call_has_told_is_known_after_the_crash_of_its_worker(join: Join) -> None:
    member = join()
    worker = member.manager.assignment.owned[ZERO].worker
    assert worker is not None
    worker.heartbeat([1], "half")
    worker.heartbeat([2], "nearly")
    finish(member, 1, SystemExit(1))
    for offset in (0, 2, 3):
        finish(member, offset)
    begin_anew(member)
    successor = member.manager.assignment.owned[ZERO].worker

    assert successor is not None
    assert successor is not worker
    assert successor.kept.progress == {1: "half"}


def test_a_client_that_breaks_takes_everything_with_it_and_the_next_begins_where_it_was_committed(
    join: Join, broker: Broker
) -> None:
    member = join()
    finish(member, 0)
    for _ in range(12):
        member.turn()
    assert broker.commits[ZERO].offset == 1
    finish(member, 1)
    member.manager.handover.abandon(RuntimeError("beyond repair"))

    assert member.owned == []
    assert broker.commits[ZERO].offset == 1
