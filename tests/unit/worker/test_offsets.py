"""The tracker: which offset may be committed; checked against a model that has no cleverness at all."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from elsa.worker.offsets import Tracker


def test_the_base_is_the_lowest_unfinished_offset_that_was_delivered() -> None:
    tracker = Tracker(0)
    tracker.deliver([0, 1, 2])

    tracker.finish([1, 2])
    assert tracker.base == 0

    tracker.finish([0])
    assert tracker.base == 3
    assert tracker.unfinished == 0


def test_gaps_of_the_log_hold_nothing_back() -> None:
    tracker = Tracker(3)
    tracker.deliver([5, 9])
    tracker.finish([5])

    assert tracker.base == 9


def test_an_offset_that_is_finished_twice_counts_once() -> None:
    tracker = Tracker(0)
    tracker.deliver([0, 1, 2])
    tracker.finish([0, 0])
    tracker.finish([2, 2])
    tracker.finish([0])

    assert (tracker.base, tracker.unfinished) == (1, 1)


def test_held_offsets_are_finished_by_the_next_one_above_them() -> None:
    tracker = Tracker(0)
    tracker.deliver([0, 1, 2, 3])
    tracker.hold([0, 2])
    assert (tracker.base, tracker.unfinished) == (0, 2)

    tracker.finish([1])
    assert (tracker.base, tracker.unfinished) == (2, 1)

    tracker.finish([3])
    assert (tracker.base, tracker.unfinished) == (4, 0)


def test_an_offset_held_below_one_that_is_finished_already_is_finished() -> None:
    tracker = Tracker(0)
    tracker.deliver([0, 1])
    tracker.finish([1])
    tracker.hold([0])

    assert (tracker.base, tracker.unfinished) == (2, 0)


def test_what_was_given_up_finishes_no_held_offset_below_it() -> None:
    tracker = Tracker(0)
    tracker.deliver([0, 1, 2])
    tracker.hold([0])
    tracker.finish([1], acknowledges=False)

    assert (tracker.base, tracker.unfinished) == (0, 1)

    tracker.finish([2])
    assert (tracker.base, tracker.unfinished) == (3, 0)


def test_an_offset_held_below_one_that_was_given_up_stays_held() -> None:
    tracker = Tracker(0)
    tracker.deliver([0, 1])
    tracker.finish([1], acknowledges=False)
    tracker.hold([0])

    assert (tracker.base, tracker.unfinished) == (0, 0)


def test_the_end_of_the_log_counts_only_when_nothing_is_pending() -> None:
    tracker = Tracker(0)
    tracker.deliver([0, 1])
    tracker.finish([0])
    assert not tracker.reach_end(7)
    assert tracker.base == 1

    tracker.finish([1])
    assert tracker.reach_end(7)
    assert tracker.base == 7

    assert tracker.reach_end(5)
    assert tracker.base == 7


def test_a_slow_head_costs_no_memory_however_much_is_finished_behind_it() -> None:
    tracker = Tracker(0)
    tracker.deliver([0])
    for start in range(1, 100_001, 100):
        offsets = list(range(start, start + 100))
        tracker.deliver(offsets)
        tracker.finish(offsets[::-1])

    assert (tracker.base, tracker.unfinished, tracker.highest) == (0, 1, 100_000)
    assert len(tracker._order) < 2_000
    assert tracker.missing(tracker.highest) == [0]
    tracker.finish([0])
    assert tracker.base == 100_001


class TrackerAgainstModel(RuleBasedStateMachine):
    """The model is one mapping, offset -> running, held or done, from which everything is computed anew."""

    @initialize(base=st.integers(0, 5))
    def start(self, base: int) -> None:
        self.tracker = Tracker(base)
        self.next = self.begin = base
        self.state: dict[int, str] = {}

    def those(self, state: str) -> list[int]:
        return sorted(offset for offset, one in self.state.items() if one == state)

    @rule(gaps=st.lists(st.integers(0, 2), min_size=1, max_size=6))
    def deliver(self, gaps: list[int]) -> None:
        offsets = []
        for gap in gaps:
            offsets.append(self.next + gap)
            self.next += gap + 1
        self.state |= dict.fromkeys(offsets, "running")
        self.tracker.deliver(offsets)

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        choice = st.sampled_from(self.those("running") + self.those("done"))
        offsets = data.draw(st.lists(choice, min_size=1, max_size=6))
        self.state |= dict.fromkeys(offsets, "done")
        self.state |= {one: "done" for one in self.those("held") if one < max(offsets)}
        self.tracker.finish(offsets)

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data())
    def hold(self, data: st.DataObject) -> None:
        offsets = data.draw(st.lists(st.sampled_from(self.those("running")), min_size=1, max_size=3, unique=True))
        highest = max(self.those("done"), default=-1)
        self.state |= {one: "done" if one < highest else "held" for one in offsets}
        self.tracker.hold(offsets)

    @rule(ahead=st.integers(0, 3))
    def reach_end(self, ahead: int) -> None:
        is_done = not self.those("running") and not self.those("held")
        if is_done:
            self.next += ahead
        assert self.tracker.reach_end(self.next if is_done else self.next + ahead) == is_done

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "tracker"):
            unfinished = self.those("running")
            base = min(unfinished + self.those("held"), default=self.next)
            assert (self.tracker.base, self.tracker.unfinished) == (base, len(unfinished))
            assert self.tracker.missing(self.next) == sorted(unfinished + self.those("held"))
            assert self.tracker.finished == len(self.those("done"))
            assert self.tracker.highest == max([self.begin - 1, *self.those("done")])


TestTrackerAgainstModel = TrackerAgainstModel.TestCase
