"""Messages that may have killed their process: counted before anything runs, then one at a time, then given up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import elsa
from elsa.control.protocol import Target
from elsa.kafka.consumer import Committed
from elsa.message import TopicPartition
from elsa.worker.caution import MOST_DEATHS
from elsa.worker.journal import Journal
from elsa.worker.progress import Progress, decode, encode

from .simulation import TOPIC

if TYPE_CHECKING:
    from pathlib import Path

    from .simulation import Broker, Join, Member

ZERO, ONE = TopicPartition(TOPIC, 0), TopicPartition(TOPIC, 1)


@pytest.fixture
def join(join: Join, tmp_path: Path) -> Join:
    """`join(assign, **fields)` makes the next process of one slot; the one before has just been killed."""
    made: list[Member] = []

    def make(assign: tuple[int, ...] = (0, 1), **fields: Any) -> Member:
        if made:
            made[-1].end()
        member = join(assign, most=12, name=f"process-{len(made)}", **fields)
        member.manager.assignment.caution.journal = Journal.open(tmp_path / "journal")
        made.append(member)
        return member

    return make


def begin(member: Member, rounds: int = 3) -> set[tuple[int, int]]:
    """Everything begins that can; (partition, offset) of what runs."""
    for _ in range(rounds):
        member.turn()
        while member.begin():
            pass
    return {(call.worker.partition.partition, call.raw.offset()) for call in member.calls}


def deaths(broker: Broker, where: TopicPartition) -> dict[int, int]:
    commit = broker.commits.get(where)
    found = None if commit is None else decode(commit.metadata, commit.offset)
    return {} if found is None else dict(found.deaths)


def test_deaths_are_committed_before_anything_runs_again(join: Join, broker: Broker) -> None:
    ran = begin(join())
    assert len(ran) == 4
    member = join()
    member.turn()

    assert member.started == []
    counted = {(0, n): c for n, c in deaths(broker, ZERO).items()} | {(1, n): c for n, c in deaths(broker, ONE).items()}
    assert counted == dict.fromkeys(ran, 1)


def test_after_the_first_death_all_run_as_before(join: Join) -> None:
    ran = begin(join())

    assert begin(join()) == ran


def test_after_the_second_suspects_run_alone_until_each_has_returned(join: Join, broker: Broker) -> None:
    for _ in range(2):
        ran = begin(join())
    member = join()
    for _ in range(len(ran)):
        alone = begin(member)
        assert len(alone) == 1
        assert alone <= ran
        member.finish()
    assert len(begin(member)) == 4
    member.run_dry()

    assert broker.is_all_committed()
    assert not broker.commits[ZERO].metadata


@pytest.mark.parametrize("is_early", [True, False])
def test_suspects_of_a_paused_partition_keep_nobody_waiting(join: Join, broker: Broker, *, is_early: bool) -> None:
    """Paused before the partitions come, or when they are there; suspects again when it goes on."""
    for _ in range(2):
        ran = begin(join(assign=(0,)))
    member = join(assign=(1,) if is_early else (0, 1))
    if not is_early:
        member.turn()
    member.pause(partition=0)
    if is_early:
        member.rebalance(assign=(0,))
    assert {partition for partition, _ in begin(member)} == {1}
    while member.calls:
        member.finish()
    while begin(member):
        member.finish()
    member.resume(partition=0)
    alone = begin(member)

    assert len(alone) == 1
    assert alone <= ran
    member.finish()
    member.run_dry()
    assert broker.is_all_committed()


@pytest.mark.parametrize("ordering", ["partition", "key"])
def test_a_suspect_behind_a_message_that_waits_keeps_nobody_waiting(join: Join, broker: Broker, ordering: str) -> None:
    """It is one again when what is before it goes on."""
    for _ in range(2):
        broker.produce(0, b"same")
    text = encode(0, -1, [], {}, deaths={7: 2})
    assert text
    broker.commits[ZERO] = Committed(0, text)
    member = join(ordering=ordering)
    for number in range(6):
        assert begin(member) == {(0, number)}
        member.finish()
    assert begin(member) == {(0, 6)}
    member.finish(0, elsa.RetryLater(30))
    ran = set()
    for _ in range(6):
        ran |= begin(member)
        member.finish()
    assert ran == {(1, number) for number in range(6)}
    assert not member.manager.assignment.caution.is_on
    broker.produce(1, b"6")
    broker.produce(1, b"7")
    member.clock.advance(30)
    member.turn()

    assert member.manager.assignment.caution.is_on
    assert begin(member) == {(0, 6)}
    member.finish()
    assert begin(member) == {(0, 7)}
    member.finish()
    member.run_dry()
    assert broker.is_all_committed()


def test_the_third_death_blames_exactly_one(join: Join, broker: Broker) -> None:
    for _ in range(2):
        begin(join())
    member = join()
    begin(member)
    member.finish()
    ((partition, guilty),) = begin(member)
    member = join()
    member.run_dry()

    assert (partition, guilty) not in {(where.partition, offset) for where, offset in member.started}
    # the stand-in of the settlement has written it down
    assert guilty in broker.done[TopicPartition(TOPIC, partition)]
    rest = [(where.partition, n) for where in (ZERO, ONE) for n in range(6)]
    assert len(broker.done[ZERO]) + len(broker.done[ONE]) == len(rest)


def test_a_suspect_that_fails_is_no_suspect_any_more(join: Join) -> None:
    for _ in range(2):
        ran = begin(join())
    member = join()
    for _ in ran:
        assert len(begin(member)) == 1
        member.finish(0, ValueError("no"))

    assert len(begin(member)) == 4


def test_partitions_without_suspects_wait_meanwhile(join: Join, broker: Broker) -> None:
    for _ in range(2):
        begin(join(assign=(0,)))
    member = join(assign=(0, 1))
    for _ in range(4):
        assert {partition for partition, _ in begin(member)} == {0}
        assert len(member.calls) == 1
        member.finish()
    assert not member.manager.assignment.caution.is_on
    member.run_dry()

    assert broker.is_all_committed()


def test_suspects_go_with_their_partition(join: Join) -> None:
    for _ in range(2):
        begin(join(assign=(0,)))
    member = join()
    begin(member)
    assert member.manager.assignment.caution.is_on
    while member.calls:
        member.finish()
    member.rebalance(revoke=[0])
    member.turn()

    assert not member.manager.assignment.caution.is_on
    assert {partition for partition, _ in begin(member)} == {1}


def test_suspects_that_the_log_has_no_more_keep_nobody_waiting(join: Join, broker: Broker) -> None:
    for _ in range(2):
        begin(join(assign=(0,)))
    gone = [raw for raw in broker.logs[ZERO] if raw.offset() >= 4]
    broker.logs[ZERO] = gone
    member = join()
    for _ in range(30):
        begin(member)
        while member.calls:
            member.finish()

    assert not member.manager.assignment.caution.is_on
    assert broker.commits[ONE].offset == 6


@pytest.mark.parametrize(("option", "held", "done"), [("skip", None, True), ("stop", "halted", False)])
def test_a_poisonous_message_ends_as_its_handler_wants(
    join: Join,
    broker: Broker,
    option: str,
    held: str | None,
    done: bool,  # noqa: FBT001
) -> None:
    text = encode(0, -1, [], {}, deaths={2: MOST_DEATHS})
    assert text
    broker.commits[ZERO] = Committed(0, text)
    broker.done[ZERO].add(2)
    member = join(options={"on_exhausted": option})
    for _ in range(20):
        begin(member)
        while member.calls:
            member.finish()

    assert member.manager.assignment.owned[ZERO].held == held
    assert 2 not in [offset for where, offset in member.started if where == ZERO]
    assert (broker.commits[ZERO].offset == 6) is done


def test_a_halt_by_poison_ends_when_told_to(join: Join, broker: Broker) -> None:
    text = encode(0, -1, [], {}, deaths={2: MOST_DEATHS})
    assert text
    broker.commits[ZERO] = Committed(0, text)
    member = join(options={"on_exhausted": "stop"})
    for _ in range(10):
        begin(member)
        while member.calls:
            member.finish()
    assert member.manager.assignment.owned[ZERO].held == "halted"
    member.manager.resume(Target())
    for _ in range(10):
        begin(member)
        while member.calls:
            member.finish()

    assert member.manager.assignment.owned[ZERO].held is None
    assert broker.commits[ZERO].offset == 6


def test_two_suspects_never_run_at_once(join: Join) -> None:
    """Both are told that they may: the second finds that the first is in."""
    for _ in range(2):
        begin(join())
    member = join()
    member.turn()
    caution = member.manager.assignment.caution
    workers = [assigned.worker for assigned in member.manager.assignment.owned.values() if assigned.worker is not None]
    let_in = [worker for worker in workers if caution.enter(worker, member.place)]

    assert len(let_in) == 1
    caution.leave(let_in[0])
    assert len(begin(member)) == 1


def test_deaths_are_read_back_beside_everything_else() -> None:
    found = {5: 1, 9: 2, 400: 1}
    text = encode(5, 9, [5, 7], {7: 3}, is_halted=True, deaths=found)

    assert text
    assert decode(text, 5) == Progress(5, 9, frozenset({5, 7}), {7: 3}, is_halted=True, deaths=found)


def test_of_many_deaths_those_that_matter_are_kept() -> None:
    many = dict.fromkeys(range(3000), 1) | {50: 2, 2_999: 2}
    text = encode(0, -1, [], {}, deaths=many)
    assert text
    found = decode(text, 0)

    assert found is not None
    assert found.deaths[50] == found.deaths[2_999] == 2
    assert len(found.deaths) == 400
