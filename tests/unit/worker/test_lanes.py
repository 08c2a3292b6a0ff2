"""Lanes against a model without cleverness: which message may run is looked for anew each time."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from elsa.worker.lanes import KeyedLanes, SingleLane

from .parts import Place, Raw, offsets

KEYS = st.sampled_from([b"a", b"b", b"c", None])


class KeyedAgainstModel(RuleBasedStateMachine):
    """The model has every message that is not over, with its state: waiting, running or parked."""

    @initialize(by_key=st.booleans())
    def start(self, *, by_key: bool) -> None:
        self.place = Place()
        self.by_key = by_key
        self.lanes = KeyedLanes(lambda _: cast("Any", self.place), by_key=by_key)
        self.state: dict[Raw, str] = {}
        self.dues: dict[Raw, float] = {}
        self.next = 0

    def key(self, raw: Raw) -> Any:
        return raw.key() if self.by_key and raw.key() is not None else raw.offset()

    def those(self, *states: str) -> list[Raw]:
        return [raw for raw, state in sorted(self.state.items(), key=lambda one: one[0].offset()) if state in states]

    def may_run(self) -> list[Raw]:
        """The first of each key that waits, if nothing of that key runs or is parked."""
        taken = {self.key(raw) for raw in self.those("running", "parked")}
        found: dict[Any, Raw] = {}
        for raw in self.those("waiting"):
            if self.key(raw) not in taken:
                found.setdefault(self.key(raw), raw)
        return list(found.values())

    @rule(keys=st.lists(KEYS, min_size=1, max_size=6))
    def put(self, keys: list[bytes | None]) -> None:
        raws = [Raw(self.next + at, key=key) for at, key in enumerate(keys)]
        self.next += len(raws)
        self.state |= dict.fromkeys(raws, "waiting")
        self.lanes.put(raws)

    @rule()
    def take(self) -> None:
        allowed = self.may_run()
        raw = self.lanes.next(cast("Any", self.place))
        assert (raw is None) == (not allowed)
        if raw is not None:
            assert raw in allowed
            self.state[raw] = "running"

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        raw = data.draw(st.sampled_from(self.those("running")))
        del self.state[raw]
        self.lanes.release(raw)

    @precondition(lambda self: self.those("running"))
    @rule(data=st.data(), due=st.integers(0, 20))
    def park(self, data: st.DataObject, due: int) -> None:
        raw = data.draw(st.sampled_from(self.those("running")))
        self.state[raw] = "parked"
        self.dues[raw] = due
        self.lanes.park(raw, due, holds=True)

    @rule(now=st.integers(0, 20))
    def unpark(self, now: int) -> None:
        due = [raw for raw in self.those("parked") if self.dues[raw] <= now]
        assert self.lanes.unpark(now) == bool(due)
        self.state |= dict.fromkeys(due, "waiting")

    @rule(most=st.integers(1, 5), data=st.data())
    def batch(self, most: int, data: st.DataObject) -> None:
        """A batch has, of each of its keys, the next messages without a gap; what of it comes again keeps its order."""
        allowed = {self.key(raw) for raw in self.may_run()}
        raws = self.lanes.take_batch(cast("Any", self.place), most, frozenset(), {})
        assert bool(raws) == bool(allowed)
        assert offsets(raws) == sorted(offsets(raws))
        assert len(raws) <= most
        for key in {self.key(raw) for raw in raws}:
            assert key in allowed
            mine = [raw for raw in raws if self.key(raw) == key]
            assert mine == [raw for raw in self.those("waiting") if self.key(raw) == key][: len(mine)]
        back = {}
        for raw in raws:
            end = data.draw(st.sampled_from(["done", "again", "later"]))
            if end == "done":
                del self.state[raw]
            else:
                back[raw.offset()] = None if end == "again" else 5.0
        heads = set()
        for raw in raws:
            if raw.offset() in back and self.key(raw) not in heads:
                heads.add(self.key(raw))
                if back[raw.offset()] is not None:
                    self.state[raw], self.dues[raw] = "parked", 5.0
        self.lanes.end_batch(raws, back)

    @invariant()
    def agrees(self) -> None:
        if hasattr(self, "lanes"):
            assert self.lanes.queued == len(self.those("waiting"))
            assert self.lanes.parked == len(self.those("parked"))
            assert self.lanes.is_ready(cast("Any", self.place)) == bool(self.may_run())
            keys = {self.key(raw) for raw in self.state} if self.by_key else set()
            assert set(self.lanes._lanes) == {key for key in keys if isinstance(key, bytes)}


TestKeyedAgainstModel = KeyedAgainstModel.TestCase
TestKeyedAgainstModel.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


def test_one_lane_gives_consecutive_messages_and_takes_them_back_in_order() -> None:
    place = cast("Any", Place())
    lane = SingleLane(lambda _: place)
    raws = [Raw(n) for n in range(5)]
    lane.put(raws)
    taken = lane.take(place, 3)
    assert offsets(taken) == [0, 1, 2]
    assert not lane.is_ready(place)

    lane.give_back(taken[1:])
    assert offsets(lane.take(place, 9)) == [1, 2, 3, 4]


def test_one_lane_waits_as_a_whole() -> None:
    place = cast("Any", Place())
    lane = SingleLane(lambda _: place)
    lane.put([Raw(0), Raw(1)])
    taken = lane.take(place, 1)
    lane.park(taken[0], 5.0, holds=True)
    lane.give_back(taken)

    assert not lane.is_ready(place)
    assert not lane.unpark(4.9)
    assert lane.unpark(5.0)
    assert offsets(lane.take(place, 9)) == [0, 1]


def test_calls_that_failed_late_come_again_in_their_order() -> None:
    """Both were done, as it seemed, and a third one of their key runs; then what they had sent is refused."""
    place = cast("Any", Place())
    lanes = KeyedLanes(lambda _: place, by_key=True)
    raws = [Raw(offset, key=b"a") for offset in range(4)]
    lanes.put(raws)
    for raw in raws[:2]:
        assert lanes.next(place) is raw
        lanes.release(raw)
    running = lanes.next(place)
    lanes.park(raws[0], 5.0, holds=False)
    lanes.park(raws[1], 5.0, holds=False)
    lanes.unpark(5.0)
    lanes.release(running)
    order = []
    while (next_one := lanes.next(place)) is not None:
        order.append(next_one)
        lanes.release(next_one)

    assert offsets([running, *order]) == [2, 0, 1, 3]
