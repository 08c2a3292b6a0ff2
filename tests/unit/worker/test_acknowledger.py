"""Case 29 and the rest of what the acknowledger decides: which offsets are committed, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

from elsa.message import TopicPartition
from elsa.observer import HandlerObserver
from elsa.worker import assigned as module
from elsa.worker import progress
from elsa.worker.acknowledger import Acknowledger, Commit

if TYPE_CHECKING:
    from collections.abc import Mapping

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class Assigned(module.Assigned):
    """An assigned partition without a worker, with so many delivered messages."""

    def __init__(self, partition: TopicPartition, *, delivered: int = 10, committed: int = -1) -> None:
        super().__init__(partition, None, HandlerObserver(), base=0, limit=1_000)  # type: ignore[arg-type]  # unused
        self.tracker.deliver(list(range(delivered)))
        self.committed = committed


def parts(*given: module.Assigned) -> dict[TopicPartition, module.Assigned]:
    return {part.partition: part for part in given}


def finish(acknowledger: Acknowledger, part: module.Assigned, *offsets: int) -> None:
    acknowledger.finished(part, part.tracker.finish(list(offsets)))


def offsets(commits: Mapping[TopicPartition, Commit]) -> dict[TopicPartition, int]:
    return {partition: commit.offset for partition, commit in commits.items()}


def test_case_29_next_offsets_of_two_partitions() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Assigned(P0), Assigned(P1))
    finish(acknowledger, owned[P0], 0)
    finish(acknowledger, owned[P1], 0)
    finish(acknowledger, owned[P0], 1)

    assert offsets(acknowledger.due(1.0, owned)) == {P0: 2, P1: 1}
    acknowledger.answered(owned, [P0, P1], ok=True)

    finish(acknowledger, owned[P0], 2)
    assert offsets(acknowledger.due(2.0, owned)) == {P0: 3}


def test_nothing_is_due_before_the_interval_unless_much_is_finished() -> None:
    acknowledger = Acknowledger(interval=1, every=3)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0)
    assert offsets(acknowledger.due(1.0, owned)) == {P0: 1}
    acknowledger.answered(owned, [P0], ok=True)

    finish(acknowledger, owned[P0], 1, 2)
    assert acknowledger.due(1.5, owned) == {}
    finish(acknowledger, owned[P0], 3)
    assert offsets(acknowledger.due(1.5, owned)) == {P0: 4}


def test_one_commit_is_in_flight_at_a_time() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0)
    assert acknowledger.due(1.0, owned)

    finish(acknowledger, owned[P0], 1)
    assert acknowledger.due(9.0, owned) == {}

    acknowledger.answered(owned, [P0], ok=True)
    assert offsets(acknowledger.due(9.0, owned)) == {P0: 2}


def test_what_is_committed_never_goes_backwards() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Assigned(P0, committed=5))
    finish(acknowledger, owned[P0], 0, 1)

    assert acknowledger.due(1.0, owned) == {}
    assert acknowledger.wait(9.0) is None


def test_a_refused_commit_is_repeated_as_long_as_the_partition_is_ours() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0)
    acknowledger.due(1.0, owned)
    acknowledger.answered(owned, [P0], ok=False)
    assert offsets(acknowledger.due(2.0, owned)) == {P0: 1}

    acknowledger.answered({}, [P0], ok=False)
    assert acknowledger.due(3.0, owned) == {}
    assert owned[P0].committed == -1


def test_a_refused_commit_is_not_repeated_at_once_however_much_is_finished() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0, 1)
    assert acknowledger.due(1.0, owned)
    acknowledger.answered(owned, [P0], ok=False)

    assert acknowledger.due(1.01, owned) == {}
    assert offsets(acknowledger.due(1.2, owned)) == {P0: 2}


def test_a_broker_that_refuses_holds_the_lanes_when_much_is_finished() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0, 1)
    acknowledger.due(1.0, owned)
    acknowledger.answered(owned, [P0], ok=False)
    assert not acknowledger.is_behind(1.01)
    finish(acknowledger, owned[P0], 2, 3)
    assert acknowledger.is_behind(1.01)
    acknowledger.due(1.2, owned)
    assert acknowledger.is_behind(1.21)

    acknowledger.answered(owned, [P0], ok=True)
    assert not acknowledger.is_behind(1.22)


def test_a_refusal_of_what_is_gone_holds_nothing() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0, 1, 2, 3)
    acknowledger.due(1.0, owned)
    acknowledger.answered({}, [P0], ok=False)

    assert not acknowledger.is_behind(1.01)


def test_a_slow_broker_holds_admission_when_much_is_finished() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0, 1)
    assert acknowledger.due(1.0, owned)
    finish(acknowledger, owned[P0], 2, 3)

    assert not acknowledger.is_behind(1.05)
    assert acknowledger.is_behind(1.2)
    acknowledger.answered(owned, [P0], ok=True)
    assert not acknowledger.is_behind(1.2)


def test_a_fast_broker_or_little_work_holds_nothing() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0, 1)
    assert acknowledger.due(1.0, owned)

    assert not acknowledger.is_behind(9.0)


def test_partitions_that_are_gone_are_not_committed() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Assigned(P0), Assigned(P1))
    finish(acknowledger, owned[P0], 0)
    finish(acknowledger, owned[P1], 0)
    acknowledger.forget([P0])
    del owned[P0]

    assert offsets(acknowledger.due(1.0, owned)) == {P1: 1}
    acknowledger.answered(owned, [P0, P1], ok=True)
    assert owned[P1].committed == 1


def test_what_is_finished_above_the_base_is_a_commit_of_its_own() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0, 3)
    first = acknowledger.due(1.0, owned)
    acknowledger.answered(owned, [P0], ok=True)
    assert acknowledger.due(9.0, owned) == {}

    finish(acknowledger, owned[P0], 5)
    second = acknowledger.due(9.0, owned)
    assert [commits[P0].offset for commits in (first, second)] == [1, 1]
    read = [progress.decode(commits[P0].metadata, 1) for commits in (first, second)]
    assert [[n for n in range(10) if one is not None and one.is_done(n)] for one in read] == [[3], [3, 5]]


def test_an_answer_to_an_older_commit_takes_nothing_back() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], 0)
    older = acknowledger.due(1.0, owned)
    finish(acknowledger, owned[P0], 1)
    newer = acknowledger.pending(owned, [P0])
    acknowledger.answered(owned, [P0], ok=True, sent=newer)
    acknowledger.answered(owned, [P0], ok=True, sent=older)

    assert owned[P0].committed == 2
    assert acknowledger.pending(owned, [P0]) == {}


def test_an_answer_to_a_former_assignment_says_nothing_of_this_one() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Assigned(P0))
    finish(acknowledger, owned[P0], *range(10))
    acknowledger.due(1.0, owned)
    owned = parts(Assigned(P0, committed=4))
    acknowledger.answered(owned, [P0], ok=True)

    assert owned[P0].committed == 4
