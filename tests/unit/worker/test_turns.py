"""One go of an executor: which messages it runs, when it ends, and what it leaves."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from elsa.observer import HandlerObserver
from elsa.testing.clock import FakeClock
from elsa.worker import turns
from elsa.worker.arrivals import Arrivals
from elsa.worker.equipment import Inheritance
from elsa.worker.kept import Kept
from elsa.worker.lanes import KeyedLanes
from elsa.worker.turns import BatchTurn, LaneTurn, LifecycleTurn, SliceTurn

from .parts import Place, offsets


class Worker:
    """What turns ask of a partition worker."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.closed = False
        self.held = False
        self.seen = None
        self.observer = HandlerObserver()
        self.vigil = SimpleNamespace(is_on=False)
        self.kept = Kept(Inheritance())
        self.backlog = self
        self.arrivals = Arrivals()
        self.clock = FakeClock(100.0)
        self.is_retry = False
        #: how many more may start, None when nobody counts
        self.allowed: int | None = None

    @property
    def flows(self) -> bool:
        return not self.closed and not self.held

    def allow(self, executor: Any, wanted: int) -> int:
        if self.allowed is None:
            return wanted
        count = min(wanted, self.allowed)
        self.allowed -= count
        return count


@pytest.fixture
def worker() -> Any:
    return Worker()


@pytest.fixture
def place() -> Any:
    return Place()


class Lane:
    """The lane that a slice was taken from."""

    def __init__(self) -> None:
        self.raws: list[Any] = []

    def give_back(self, raws: list[Any]) -> None:
        self.raws = raws


def back(turn: SliceTurn) -> list[int]:
    """What the lane gets back when the turn is over."""
    turn.give_back()
    return offsets(cast("Lane", turn._lane).raws)


class TestSlice:
    """Consecutive messages of one lane."""

    @pytest.fixture
    def turn(self, worker: Any, place: Any, raw: Any) -> SliceTurn:
        return SliceTurn(worker, place, Lane(), [raw(offset) for offset in range(4)])  # type: ignore[arg-type]  # a stand-in

    def test_it_runs_all_of_them(self, turn: SliceTurn) -> None:
        ran = []
        for one in turn.messages():
            ran.append(one.offset())
            assert offsets(turn.running()) == [one.offset()]

        assert (ran, list(turn.running()), back(turn)) == ([0, 1, 2, 3], [], [])

    @pytest.mark.parametrize("why", ["closed", "held"])
    def test_nothing_more_begins_when_the_worker_says_so(self, turn: SliceTurn, worker: Any, why: str) -> None:
        ran = []
        for one in turn.messages():
            ran.append(one.offset())
            if one.offset() == 1:
                setattr(worker, why, True)

        assert (ran, back(turn)) == ([0, 1], [2, 3])

    def test_it_ends_when_its_time_is_over(self, turn: SliceTurn) -> None:
        ran = []
        for one in turn.messages():
            ran.append(one.offset())
            turn.since += turns.TURN_SECONDS / 2 + 0.001

        assert (ran, back(turn)) == ([0, 1], [2, 3])

    def test_what_failed_goes_back_with_everything_behind_it(self, turn: SliceTurn) -> None:
        for one in turn.messages():
            if one.offset() == 1:
                turn.stop_lane()

        assert back(turn) == [1, 2, 3]

    def test_waits_and_ages_are_those_of_what_has_run(self, worker: Any, place: Any, raw: Any) -> None:
        raws = [raw(offset, timestamp=90_000) for offset in range(4)]
        turn = SliceTurn(worker, place, Lane(), raws)  # type: ignore[arg-type]  # a stand-in
        turn.waits = [(5.0, 1), (3.0, 3)]
        for one in turn.messages():
            if one.offset() == 0:
                turn.unfine.add(0)
            worker.held = one.offset() == 1
        turn.note_ages()

        assert turn.waits == [(5.0, 1), (3.0, 1)]
        assert turn.ages == [(10.0, 1)]

    def test_after_a_crash_nothing_runs(self, turn: SliceTurn) -> None:
        for _ in turn.messages():
            turn.is_over = True

        assert back(turn) == [1, 2, 3]


class TestLane:
    """Whatever is ready, one message at a time."""

    def make(self, worker: Any, place: Any, raws: list[Any]) -> tuple[KeyedLanes, LaneTurn]:
        lanes = KeyedLanes(lambda _: cast("Any", place), by_key=True)
        lanes.put(raws)
        return lanes, LaneTurn(worker, place, lanes, lanes.next(place))

    def test_it_goes_on_with_what_is_ready(self, worker: Any, place: Any, raw: Any) -> None:
        raws = [raw(0, key=b"a"), raw(1, key=b"a"), raw(2, key=b"b")]
        lanes, turn = self.make(worker, place, raws)

        assert [one.offset() for one in turn.messages()] == [0, 2, 1]
        assert (lanes.queued, lanes._lanes, list(turn.running())) == (0, {}, [])

    def test_it_ends_after_its_message_when_one_at_a_time_is_to_run(self, worker: Any, place: Any, raw: Any) -> None:
        lanes, turn = self.make(worker, place, [raw(0, key=b"a"), raw(1, key=b"a"), raw(2, key=b"b")])
        worker.vigil.is_on = True

        assert [one.offset() for one in turn.messages()] == [0]
        assert lanes.queued == 2

    def test_waits_are_looked_at_again_after_a_while_and_ages_are_complete(
        self, worker: Any, place: Any, raw: Any
    ) -> None:
        _, turn = self.make(worker, place, [raw(offset, timestamp=90_000) for offset in range(5)])
        turn.since = 1_000.0
        worker.arrivals.came(4, 990.0)
        for one in turn.messages():
            if one.offset() == 2:
                turn.since += 5.0
        turn.note_ages()

        assert turn.waits == [(10.0, 3), (15.0, 2)]
        assert turn.ages == [(10.0, 3), (10.0, 2)]

    def test_a_retry_has_waited_before(self, worker: Any, place: Any, raw: Any) -> None:
        _, turn = self.make(worker, place, [raw(0, timestamp=90_000)])
        worker.arrivals.came(0, 990.0)
        worker.kept.attempts[0] = 1
        assert [one.offset() for one in turn.messages()] == [0]
        turn.note_ages()

        assert (turn.waits, turn.ages) == ([], [(10.0, 1)])

    def test_what_waits_for_its_retry_keeps_its_key(self, worker: Any, place: Any, raw: Any) -> None:
        raws = [raw(0, key=b"a"), raw(1, key=b"a"), raw(2, key=b"b")]
        lanes, turn = self.make(worker, place, raws)
        ran = []
        for one in turn.messages():
            ran.append(one.offset())
            if one.offset() == 0:
                turn.stop_lane()
                lanes.park(one, 5.0, holds=True)

        assert ran == [0, 2]
        assert (lanes.queued, lanes.parked, set(lanes._lanes)) == (1, 1, {b"a"})

    def test_a_closed_worker_gives_nothing_out_and_takes_nothing_back(self, worker: Any, place: Any, raw: Any) -> None:
        lanes, turn = self.make(worker, place, [raw(0, key=b"a"), raw(1, key=b"b")])
        for _ in turn.messages():
            worker.closed = True
            lanes.clear()
        assert turn.running() == ()

        _, turn = self.make(worker, place, [raw(0, key=b"a")])
        assert list(turn.messages()) == []

    @pytest.mark.parametrize("why", ["held", "rate"])
    def test_it_ends_when_nothing_may_begin(self, worker: Any, place: Any, raw: Any, why: str) -> None:
        lanes, turn = self.make(worker, place, [raw(offset, key=b"%d" % offset) for offset in range(4)])
        for one in turn.messages():
            if why == "held" and one.offset() == 1:
                worker.held = True
            elif why == "rate" and one.offset() == 0:
                worker.allowed = 1

        assert lanes.queued == 2
        # those that ran have let go of their keys
        assert set(lanes._lanes) == {b"2", b"3"}

    def test_it_gives_its_place_back_after_a_while_if_somebody_wants_it(
        self, worker: Any, place: Any, raw: Any
    ) -> None:
        raws = [raw(offset) for offset in range(1_000)]
        lanes, turn = self.make(worker, place, raws)
        for _ in turn.messages():
            turn.since += turns.TURN_SECONDS
        # nobody waits for it
        assert lanes.queued == 1_000 - turns.TURN_MESSAGES

        place.submit(worker)
        _, turn = self.make(worker, place, raws)
        ran = 0
        for _ in turn.messages():
            ran += 1
            turn.since += turns.TURN_SECONDS / 2 + 0.001
        assert ran == 2


def test_a_batch_runs_as_one(worker: Any, place: Any, raw: Any) -> None:
    turn = BatchTurn(worker, place, cast("Any", None), [raw(3), raw(5)])

    assert (turn.size, offsets(turn.running()), offsets(turn.messages())) == (2, [3, 5], [3, 5])
    turn.current = None
    assert turn.running() == ()


def test_a_step_of_a_class_has_no_messages(worker: Any, place: Any) -> None:
    turn = LifecycleTurn(worker, place, lambda: None)

    assert (list(turn.messages()), turn.running(), turn.size) == ([], (), 1)
