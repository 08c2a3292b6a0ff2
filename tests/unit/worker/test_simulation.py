"""Every order of poll, assign, revoke, lost, commit failure, crash and stop: nothing is lost or runs beside itself.

The events of a run are chosen in all combinations, then at random by hypothesis. After each the broker checks that what
is committed was really done; at the end everything has to be handled and committed by somebody.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

import elsa
from elsa.message import TopicPartition

from .simulation import Broker, Member

pytestmark = pytest.mark.usefixtures("simulated_time")

#: what may happen between two rounds of the group manager
EVENTS = ("revoke", "lost", "assign", "refuse", "fail", "crash", "finish last", "pause", "stop", "kill")


def apply(event: str, member: Member) -> Member:
    """Let it happen; the member that is there afterwards."""
    broker = member.broker
    if event == "revoke" and member.owned:
        member.rebalance(revoke=member.owned[:1])
    elif event == "lost" and member.owned:
        member.rebalance(lost=member.owned[:1])
    elif event == "assign":
        member.rebalance(assign=[n for n in (0, 1) if n not in member.owned])
    elif event == "refuse":
        member.consumer.answers.append(False)
    elif event == "fail" and member.calls:
        member.finish(0, ValueError("no"))
    elif event == "crash" and member.calls:
        member.finish(0, SystemExit(1))
    elif event == "finish last" and member.calls:
        member.finish(-1)
    elif event == "pause":
        # and the other one goes on, if it was paused
        member.pause(partition=0)
        member.resume(partition=1)
        member.pause(partition=1)
        member.resume(partition=1)
    elif event in ("stop", "kill"):
        if event == "stop":
            member.stop()
            assert not member.manager.assignment.owned
        member.end()
        member = Member(broker, ordering=member.ordering, policy=member.policy)
        member.rebalance(assign=[0, 1])
    return member


@pytest.mark.parametrize("ordering", ["partition", "key", "none"])
@pytest.mark.parametrize("policy", ["finish", "hang"])
def test_every_order_of_three_events(ordering: str, policy: str) -> None:
    for events in itertools.product(EVENTS, repeat=3):
        broker = Broker(2)
        for number in range(12):
            broker.produce(number % 2, [b"a", b"b", None][number % 3], gap=number % 4 == 3)
        member = Member(broker, ordering=ordering, policy=lambda _: policy)
        member.rebalance(assign=[0, 1])
        try:
            for event in events:
                for _ in range(2):
                    member.turn()
                    while member.begin():
                        pass
                member = apply(event, member)
                if member.calls:
                    member.finish(1)
            member.turn()
            member.rebalance(assign=[n for n in (0, 1) if n not in member.owned])
            member.resume()
            member.run_dry()
            assert broker.is_all_done(), events
        except AssertionError as error:
            error.add_note(f"after {events}, ordering={ordering}, policy={policy}")
            raise
        finally:
            member.end()


def test_a_worker_set_up_otherwise_runs_only_what_was_left_and_keeps_what_it_knows() -> None:
    """By key everything but two slow messages was finished; then the process dies, and one lane goes on."""
    broker = Broker(1)
    for number in range(40):
        broker.produce(0, b"%d" % number)
    first = Member(broker, ordering="key")
    first.place.limit = 100
    first.consumer.most = 40
    first.rebalance(assign=[0])
    first.turn()
    while first.begin():
        pass
    slow = [call for call in first.calls if call.raw.offset() in (0, 5)]
    while len(first.calls) > 2:
        first.finish(next(at for at, call in enumerate(first.calls) if call not in slow))
    for _ in range(12):
        first.turn()
    first.end()
    assert broker.commits[TopicPartition("t", 0)].offset == 0

    second = Member(broker, ordering="partition", options={"max_in_flight": 1})
    second.rebalance(assign=[0])
    for _ in range(12):
        second.turn()
        if second.begin() and len(second.started) == 1:
            second.finish()
    assert second.started == [(TopicPartition("t", 0), 0), (TopicPartition("t", 0), 5)]
    # the second is still running, and what lies above it is known as done all the same
    assert broker.commits[TopicPartition("t", 0)].offset == 5
    assert all(broker.says_done(TopicPartition("t", 0), offset) for offset in range(40) if offset != 5)
    second.run_dry()
    second.end()


#: how a worker may be set up: the next one may be set up otherwise, and honours what this one has committed
KINDS = st.fixed_dictionaries(
    {
        "ordering": st.sampled_from(["partition", "key", "none"]),
        "hangs": st.booleans(),
        "limit": st.sampled_from([1, 3, 1_000]),
        "most": st.integers(1, 20),
    }
)


class Machine(RuleBasedStateMachine):
    """Members of one group come and go; the model is the broker's log and the set of what was handled."""

    @initialize(kind=KINDS)
    def start(self, kind: dict[str, Any]) -> None:
        self.broker = Broker(2)
        for number in range(16):
            self.broker.produce(number % 2, [b"a", b"b", None][number % 3])
        self.join(kind)

    def join(self, kind: dict[str, Any]) -> None:
        self.member = Member(
            self.broker,
            ordering=kind["ordering"],
            policy=lambda _: "hang" if kind["hangs"] else "finish",
            options={"max_in_flight": kind["limit"]},
        )
        self.member.consumer.most = kind["most"]
        self.member.rebalance(assign=[0, 1])
        #: what was committed as done when this member came: none of that may run again here
        self.told = {
            (where, raw.offset())
            for where, log in self.broker.logs.items()
            for raw in log
            if self.broker.says_done(where, raw.offset())
        }

    @rule(
        partition=st.integers(0, 1),
        keys=st.lists(st.sampled_from([b"a", b"b", b"c", None]), min_size=1, max_size=12),
        gap=st.integers(0, 2),
    )
    def produce(self, partition: int, keys: list[bytes | None], gap: int) -> None:
        for key in keys:
            self.broker.produce(partition, key, gap=gap)

    @rule(times=st.integers(1, 4))
    def turn(self, times: int) -> None:
        for _ in range(times):
            self.member.turn()

    @rule(times=st.integers(1, 4))
    def begin(self, times: int) -> None:
        for _ in range(times):
            self.member.begin()

    @rule(ends=st.lists(st.integers(-3, 3), min_size=1, max_size=12))
    def work(self, ends: list[int]) -> None:
        """Some rounds in which the calls end well, in any order."""
        for index in ends:
            self.member.turn()
            while self.member.begin():
                pass
            if self.member.calls:
                self.member.finish(index)

    @precondition(lambda self: self.member.calls)
    @rule(index=st.integers(0, 3), end=st.sampled_from([None, None, elsa.Skip(), ValueError("no"), elsa.RetryLater(3)]))
    def finish(self, index: int, end: Any) -> None:
        self.member.finish(index, end)

    @precondition(lambda self: self.member.calls)
    @rule(index=st.integers(0, 3))
    def crash_worker(self, index: int) -> None:
        """The partition worker fails, its message does not."""
        self.member.finish(index, SystemExit(1))

    @rule(oks=st.lists(st.booleans(), min_size=1, max_size=3))
    def answer(self, oks: list[bool]) -> None:
        self.member.consumer.answers += oks

    @rule(seconds=st.floats(0.01, 4))
    def wait(self, seconds: float) -> None:
        self.member.clock.advance(seconds)

    @rule(kind=st.sampled_from(["revoke", "lost"]), number=st.integers(0, 1))
    def give_up(self, kind: str, number: int) -> None:
        if number in self.member.owned and not self.member.consumer.callbacks:
            self.member.rebalance(**{kind: [number]})
            self.told = set()

    @rule()
    def take_back(self) -> None:
        if not self.member.consumer.callbacks:
            self.member.rebalance(assign=[n for n in (0, 1) if n not in self.member.owned])

    @rule(number=st.sampled_from([None, 0, 1]))
    def pause(self, number: int | None) -> None:
        self.member.pause(partition=number)

    @rule(number=st.sampled_from([None, 0, 1]))
    def resume(self, number: int | None) -> None:
        self.member.resume(partition=number)

    @rule(kind=KINDS)
    def stop(self, kind: dict[str, Any]) -> None:
        self.member.turn()
        self.member.stop()
        self.check_starts()
        self.member.end()
        self.join(kind)

    @rule(kind=KINDS)
    def kill(self, kind: dict[str, Any]) -> None:
        self.check_starts()
        self.member.end()
        self.join(kind)

    def check_starts(self) -> None:
        again = self.told.intersection(self.member.started)
        assert not again, f"ran again although it was committed: {again}"

    def teardown(self) -> None:
        if not hasattr(self, "member"):
            return
        member = self.member
        try:
            member.consumer.answers.clear()
            # halted partitions begin anew with the next member only
            self.check_starts()
            member.end()
            self.join({"ordering": "key", "hangs": False, "limit": 1_000, "most": 20})
            self.member.run_dry()
            assert self.broker.is_all_done()
            assert not self.member.failures
        finally:
            self.member.end()


#: as many runs as fit into a few seconds; `make soak` has the long ones
TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=150, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
