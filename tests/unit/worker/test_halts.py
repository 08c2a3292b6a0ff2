"""`on_exhausted="stop"`: a partition halts where a message was given up, for whoever owns it, until told to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import elsa
from elsa.control.protocol import Target
from elsa.message import TopicPartition
from elsa.worker.progress import Progress, decode

from .simulation import TOPIC

if TYPE_CHECKING:
    from .simulation import Broker, Join, Member

ZERO, ONE = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


@pytest.fixture
def join(join: Join) -> Join:
    """The handlers of its members stop at what is exhausted."""
    options = {"options": {"on_exhausted": "stop"}, "retry": elsa.Retry(max_attempts=2, base=1, jitter=False)}
    return lambda **fields: join(**options | fields)


def work(member: Member, *bad: int, rounds: int = 40) -> None:
    """Let everything run to its end; of the first partition these offsets fail."""
    for _ in range(rounds):
        member.turn()
        while member.begin():
            pass
        while member.calls:
            call = member.calls[0]
            is_bad = call.worker.partition == ZERO and call.raw.offset() in bad
            member.finish(0, ValueError("no") if is_bad else None)


def halted(member: Member) -> bool:
    return member.manager.assignment.owned[ZERO].held == "halted"


def starts(member: Member, partition: TopicPartition = ZERO) -> list[int]:
    return [offset for where, offset in member.started if where == partition]


def metadata(broker: Broker) -> Progress:
    commit = broker.commits[ZERO]
    found = decode(commit.metadata, commit.offset)
    assert found is not None
    return found


@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
def test_its_partition_halts_after_the_last_attempt_and_the_others_go_on(
    join: Join, broker: Broker, ordering: str
) -> None:
    member = join(ordering=ordering)
    work(member, 2)

    assert halted(member)
    assert starts(member).count(2) == 2
    assert sorted(starts(member, ONE)) == list(range(6))
    assert broker.commits[ONE].offset == 6
    assert broker.commits[ZERO].offset == 2
    assert metadata(broker).is_halted
    if ordering == "partition":
        assert starts(member) == [0, 1, 2, 2]


def test_the_halt_survives_a_rebalance_and_a_restart(join: Join, broker: Broker) -> None:
    member = join()
    work(member, 2)
    member.rebalance(revoke=[0])
    work(member)
    assert metadata(broker).is_halted
    member.stop()

    # a member that would do something else with what is exhausted
    successor = join(name="another", options={})
    work(successor)
    assert halted(successor)
    assert starts(successor) == []
    assert [one.held for one in successor.manager.assignment.owned.values()] == ["halted", None]


@pytest.mark.parametrize("is_other", [False, True])
def test_it_goes_on_when_told_to_with_all_attempts(join: Join, broker: Broker, is_other: bool) -> None:  # noqa: FBT001
    member = join()
    work(member, 2)
    if is_other:
        member.stop()
        member = join(name="another")
        work(member)
    began = len(starts(member))
    member.manager.resume(Target(partition=1))
    work(member)
    assert halted(member)

    member.manager.resume(Target(partition=0))
    work(member, 2)
    # the cause was not removed: it halts again after as many attempts
    assert halted(member)
    assert starts(member)[began:].count(2) == 2
    member.manager.resume(Target())
    work(member)

    assert broker.commits[ZERO].offset == 6
    assert not broker.commits[ZERO].metadata
    assert set(starts(member)[began:]) >= {2}
    # what stood above it was done
    assert all(starts(member)[began:].count(offset) == 0 for offset in (0, 1))


def test_a_resume_while_other_calls_still_run_waits_for_them(join: Join) -> None:
    member = join(retry=elsa.Retry(max_attempts=1))
    member.turn()
    while member.begin():
        pass
    offsets = [call.raw.offset() for call in member.calls if call.worker.partition == ZERO]
    assert len(offsets) > 1
    first = next(i for i, call in enumerate(member.calls) if call.worker.partition == ZERO)
    member.finish(first, ValueError("no"))
    member.turn()
    assert halted(member)
    member.manager.resume(Target())
    member.turn()
    assert member.manager.assignment.owned[ZERO].held == "restarting"
    before = len(starts(member))
    while member.begin():
        pass
    assert len(starts(member)) == before

    work(member)
    assert member.manager.assignment.owned[ZERO].held is None
    assert member.manager.assignment.owned[ZERO].committed == 6


def test_a_message_that_fails_last_while_its_partition_goes_is_tried_once_more(join: Join, broker: Broker) -> None:
    member = join(retry=elsa.Retry(max_attempts=1))
    member.turn()
    while member.begin():
        pass
    index = next(i for i, call in enumerate(member.calls) if call.worker.partition == ZERO)
    offset = member.calls[index].raw.offset()
    member.manager.assignment.close([ZERO])
    member.finish(index, ValueError("no"))
    member.stop()

    commit = broker.commits.get(ZERO)
    found = None if commit is None else decode(commit.metadata, commit.offset)
    assert found is None or not found.is_halted
    successor = join(name="another", retry=elsa.Retry(max_attempts=1))
    work(successor, offset)
    assert halted(successor)
    assert starts(successor).count(offset) == 1
