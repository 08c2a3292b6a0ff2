"""Case 29 and the rest of what the acknowledger decides: which offsets are committed, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from elsa.message import TopicPartition
from elsa.worker.acknowledger import Acknowledger
from elsa.worker.offsets import Tracker

if TYPE_CHECKING:
    from elsa.worker.assigned import Assigned

P0, P1 = TopicPartition("t", 0), TopicPartition("t", 1)


class Part:
    """As much of an assigned partition as the acknowledger looks at."""

    def __init__(self, partition: TopicPartition, delivered: int = 10, committed: int = -1) -> None:
        self.partition = partition
        self.tracker = Tracker(0)
        self.tracker.deliver(list(range(delivered)))
        self.committed = committed


def parts(*given: Part) -> dict[TopicPartition, Assigned]:
    return {part.partition: cast("Assigned", part) for part in given}


def finish(acknowledger: Acknowledger, part: Any, *offsets: int) -> None:
    part.tracker.finish(list(offsets))
    acknowledger.finished(part, len(offsets))


def test_case_29_next_offsets_of_two_partitions() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Part(P0), Part(P1))
    finish(acknowledger, owned[P0], 0)
    finish(acknowledger, owned[P1], 0)
    finish(acknowledger, owned[P0], 1)

    assert acknowledger.due(1.0, owned) == {P0: 2, P1: 1}
    acknowledger.answered(owned, {P0: 2, P1: 1}, ok=True)

    finish(acknowledger, owned[P0], 2)
    assert acknowledger.due(2.0, owned) == {P0: 3}


def test_nothing_is_due_before_the_interval_unless_much_is_finished() -> None:
    acknowledger = Acknowledger(interval=1, every=3)
    owned = parts(Part(P0))
    finish(acknowledger, owned[P0], 0)
    assert acknowledger.due(1.0, owned) == {P0: 1}
    acknowledger.answered(owned, {P0: 1}, ok=True)

    finish(acknowledger, owned[P0], 1, 2)
    assert acknowledger.due(1.5, owned) == {}
    finish(acknowledger, owned[P0], 3)
    assert acknowledger.due(1.5, owned) == {P0: 4}


def test_one_commit_is_in_flight_at_a_time() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Part(P0))
    finish(acknowledger, owned[P0], 0)
    assert acknowledger.due(1.0, owned)

    finish(acknowledger, owned[P0], 1)
    assert acknowledger.due(9.0, owned) == {}

    acknowledger.answered(owned, {P0: 1}, ok=True)
    assert acknowledger.due(9.0, owned) == {P0: 2}


def test_what_is_committed_never_goes_backwards() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Part(P0, committed=5))
    finish(acknowledger, owned[P0], 0, 1)

    assert acknowledger.due(1.0, owned) == {}
    assert acknowledger.wait(9.0) is None


def test_a_refused_commit_is_repeated_as_long_as_the_partition_is_ours() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Part(P0))
    finish(acknowledger, owned[P0], 0)
    acknowledger.due(1.0, owned)
    acknowledger.answered(owned, {P0: 1}, ok=False)
    assert acknowledger.due(2.0, owned) == {P0: 1}

    acknowledger.answered({}, {P0: 1}, ok=False)
    assert acknowledger.due(3.0, owned) == {}
    assert owned[P0].committed == -1


def test_a_refused_commit_is_not_repeated_at_once_however_much_is_finished() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Part(P0))
    finish(acknowledger, owned[P0], 0, 1)
    assert acknowledger.due(1.0, owned)
    acknowledger.answered(owned, {P0: 2}, ok=False)

    assert acknowledger.due(1.01, owned) == {}
    assert acknowledger.due(1.2, owned) == {P0: 2}


def test_a_broker_that_refuses_holds_the_lanes_when_much_is_finished() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Part(P0))
    finish(acknowledger, owned[P0], 0, 1)
    acknowledger.due(1.0, owned)
    acknowledger.answered(owned, {P0: 2}, ok=False)
    assert not acknowledger.is_behind(1.01)
    finish(acknowledger, owned[P0], 2, 3)
    assert acknowledger.is_behind(1.01)
    acknowledger.due(1.2, owned)
    assert acknowledger.is_behind(1.21)

    acknowledger.answered(owned, {P0: 4}, ok=True)
    assert not acknowledger.is_behind(1.22)


def test_a_refusal_of_what_is_gone_holds_nothing() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Part(P0))
    finish(acknowledger, owned[P0], 0, 1, 2, 3)
    acknowledger.due(1.0, owned)
    acknowledger.answered({}, {P0: 4}, ok=False)

    assert not acknowledger.is_behind(1.01)


def test_a_slow_broker_holds_admission_when_much_is_finished() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Part(P0))
    finish(acknowledger, owned[P0], 0, 1)
    assert acknowledger.due(1.0, owned)
    finish(acknowledger, owned[P0], 2, 3)

    assert not acknowledger.is_behind(1.05)
    assert acknowledger.is_behind(1.2)
    acknowledger.answered(owned, {P0: 2}, ok=True)
    assert not acknowledger.is_behind(1.2)


def test_a_fast_broker_or_little_work_holds_nothing() -> None:
    acknowledger = Acknowledger(interval=1, every=2)
    owned = parts(Part(P0))
    finish(acknowledger, owned[P0], 0, 1)
    assert acknowledger.due(1.0, owned)

    assert not acknowledger.is_behind(9.0)


def test_partitions_that_are_gone_are_not_committed() -> None:
    acknowledger = Acknowledger(interval=1, every=1_000)
    owned = parts(Part(P0), Part(P1))
    finish(acknowledger, owned[P0], 0)
    finish(acknowledger, owned[P1], 0)
    acknowledger.forget([P0])
    del owned[P0]

    assert acknowledger.due(1.0, owned) == {P1: 1}
    acknowledger.answered(owned, {P0: 1, P1: 1}, ok=True)
    assert owned[P1].committed == 1
