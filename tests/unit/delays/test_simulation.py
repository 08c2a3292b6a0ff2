"""Everything that can happen to movers, at every step of their transactions: each message arrives once, none early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from elsa.delays.topics import undeliverable_topic
from elsa.errors import BrokerUnavailable, FatalClientError, TransactionAborted
from elsa.message import TopicPartition

from .simulation import NAME, STEPS, TARGET, Crash, SimulatedMover, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: seconds, from a moment to some days
WAITS = (0.1, 0.9, 1.0, 2.5, 4.0, 7.3, 20.0, 65.0, 300.0, 5_000.0, 100_000.0)


def crash(mover: SimulatedMover) -> None:
    """Killed; a static member's successor comes at once."""
    world = mover.world
    world.gone(mover)
    world.add_mover(mover.name if mover.is_static else None, is_static=mover.is_static)
    raise Crash


def vanish(mover: SimulatedMover) -> None:
    """Killed, and its host is gone."""
    mover.world.gone(mover)
    raise Crash


def abort(mover: SimulatedMover) -> None:
    raise TransactionAborted("the broker had it aborted", code="UNKNOWN_PRODUCER_ID")


def lose(mover: SimulatedMover) -> None:
    """What was done is done or not; nobody knows."""
    raise BrokerUnavailable("no answer came", code="_TIMED_OUT")


def break_down(mover: SimulatedMover) -> None:
    raise FatalClientError("out of order", code="_FATAL")


def freeze(mover: SimulatedMover) -> None:
    """It stands still for so long that others take its partitions, and its transaction is aborted."""
    mover.world.freeze(mover, 21.0)


def blink(mover: SimulatedMover) -> None:
    """It stands still for a moment in which the group is rebalanced."""
    mover.world.add_mover(is_static=False)
    mover.world.freeze(mover, 2.0)


ACTIONS: list[Callable[[SimulatedMover], None]] = [crash, vanish, abort, lose, break_down, freeze, blink]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()


@pytest.mark.parametrize("is_static", [True, False], ids=["static", "dynamic"])
@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_whatever_happens_at_a_step_each_message_arrives_once(
    world: World, step: str, when: str, action: Callable[[SimulatedMover], None], is_static: bool
) -> None:
    for _ in range(2):
        world.add_mover(is_static=is_static)
    world.run(3)
    for number in range(40):
        world.send(WAITS[number % 8], key=[b"a", b"b", None][number % 3], partition=[None, 0, 1][number % 3])
        world.round()
    if (step, when, action) == ("commit", "after", abort):
        pytest.skip("what is committed is never said to be aborted")
    if step == "abort":
        world.plan("commit", "before", abort)
    world.plan(step, when, action)
    world.run(3)
    world.plan("commit", "after", crash)
    if not world.movers:
        world.add_mover()
    world.run_dry()

    world.check()


@pytest.mark.parametrize("movers", [1, 3])
def test_while_nothing_fails_all_are_on_time(world: World, movers: int) -> None:
    world.step_seconds = 0.06
    for _ in range(movers):
        world.add_mover()
    world.run(3)
    for number in range(150):
        world.send(WAITS[number % len(WAITS)], key=b"%d" % (number % 7))
        world.run(0.1, 0.02)
    world.run_dry()

    world.check(lateness=1.5)
    assert world.observer.outcomes["delivered"] == 150
    assert not world.observer.aborts
    assert max(world.observer.delays) <= 1.5


@pytest.mark.parametrize("skew", [-3_600.0, -0.4, 0.4, 3_600.0])
def test_a_worker_whose_clock_is_wrong_lets_nothing_go_early_or_late(world: World, skew: float) -> None:
    world.add_mover(skew=skew)
    world.run(3)
    for number in range(60):
        world.send(WAITS[number % 8])
        world.run(0.1)
    world.run_dry()

    world.check(lateness=1.5)


def test_one_keys_equal_delays_arrive_in_order_where_they_take_the_same_way(world: World) -> None:
    world.add_mover()
    world.add_mover()
    world.run(3)
    for _ in range(60):
        world.send(4.0, key=b"a")
        world.round(0.05)
    world.run_dry()

    world.check(lateness=1.5)
    arrived = [arrival.number for arrival in world.broker.arrivals()]
    assert arrived == sorted(arrived)


def test_a_cancelled_message_never_arrives_whatever_its_delay(world: World) -> None:
    world.add_mover()
    world.run(3)
    numbers = [world.send(wait) for wait in WAITS if wait > 2]
    world.run(0.5)
    for number in numbers:
        world.cancel(number)
    world.run_dry()

    world.check()
    assert world.broker.arrivals() == []
    assert world.observer.outcomes["cancelled"] == len(numbers)


def test_a_cancellation_holds_for_delays_longer_than_its_time(world: World) -> None:
    """Each message passes a mover within 18.2 hours, which drops it then: 7 days are enough for any delay."""
    world.add_mover()
    world.run(3)
    number = world.send(30 * 24 * 3600.0)
    world.cancel(number)
    world.run_dry()

    assert world.broker.arrivals() == []


def test_what_is_over_is_no_cancellation_any_more(world: World) -> None:
    world.add_mover()
    world.run(3)
    number = world.send(20.0)
    world.cancel(number, ttl=5.0)
    world.cancelled.clear()
    world.run_dry()

    world.check(lateness=1.5)


def test_a_topic_that_is_deleted_meanwhile_holds_nobody_up(world: World) -> None:
    world.broker.topics["other"] = 1
    world.add_mover()
    world.run(3)
    lost = [world.send(3.0, topic="other") for _ in range(5)]
    for _ in range(20):
        world.send(3.0)
    world.run(1)
    del world.broker.topics["other"]
    world.run_dry()

    world.check(lateness=1.5)
    letters = world.broker.arrivals(undeliverable_topic(NAME))
    assert sorted(letter.number for letter in letters) == lost


def test_a_topic_that_is_deleted_between_look_and_transaction(world: World) -> None:
    world.broker.topics["other"] = 1
    world.add_mover()
    world.run(3)
    world.send(1.0, topic="other")
    world.send(1.0)
    world.plan("begin", "before", lambda _: world.broker.topics.pop("other"))
    world.run_dry()

    world.check(lateness=3.0)
    assert len(world.broker.arrivals(undeliverable_topic(NAME))) == 1
    assert world.observer.aborts == {"UNKNOWN_TOPIC_OR_PART": 1}


def test_fewer_partitions_than_before(world: World) -> None:
    world.add_mover()
    world.run(3)
    world.send(1.0, partition=1)
    world.send(1.0, partition=0)
    world.broker.topics[TARGET] = 1
    world.run_dry()

    letter = world.broker.arrivals(undeliverable_topic(NAME))
    assert [one.number for one in letter] == [0]
    assert [one.number for one in world.broker.arrivals()] == [1]


def test_a_message_that_its_target_refuses_is_found_and_kept(world: World) -> None:
    """Three of twenty are too large: the others need not wait for more than a few transactions."""
    world.broker.refuses[TARGET] = lambda value: "MSG_SIZE_TOO_LARGE" if value in (b"3", b"8", b"9") else None
    world.add_mover()
    world.run(3)
    for _ in range(20):
        world.send(2.0)
    world.run_dry()

    world.check()
    letters = world.broker.arrivals(undeliverable_topic(NAME))
    assert sorted(letter.number for letter in letters) == [3, 8, 9]
    assert world.observer.outcomes == {"passed_on": 20, "delivered": 17, "undeliverable": 3} | {
        "passed_on": world.observer.outcomes["passed_on"]
    }


def test_a_dead_letter_that_is_refused_is_kept_without_its_body(world: World) -> None:
    too_large = {TARGET: b"0", undeliverable_topic(NAME): b"0"}
    for topic, value in too_large.items():
        world.broker.refuses[topic] = lambda given, value=value: "MSG_SIZE_TOO_LARGE" if given == value else None
    world.add_mover()
    world.run(3)
    for _ in range(5):
        world.send(1.0)
    world.run_dry()

    letters = [
        entry
        for where, log in world.broker.logs.items()
        if where.topic == undeliverable_topic(NAME)
        for entry in log
        if entry.transaction is not None and entry.transaction.state == "committed" and not entry.is_marker
    ]
    assert [letter.value for letter in letters] == [None]
    assert dict(letters[0].headers)["elsa-id"] == b"id-0"
    assert len(world.broker.arrivals()) == 4


def test_what_can_be_put_nowhere_waits_and_holds_nobody_up(world: World) -> None:
    del world.broker.topics[undeliverable_topic(NAME)]
    world.broker.topics[undeliverable_topic(NAME)] = 3
    world.broker.topics["other"] = 1
    world.add_mover()
    world.run(3)
    world.send(1.0, topic="other")
    for _ in range(10):
        world.send(1.0)
    del world.broker.topics["other"]
    kept = world.broker.topics.pop(undeliverable_topic(NAME))
    world.run(60)
    assert len(world.broker.arrivals()) == 10
    assert 1 < world.observer.outcomes["postponed"] < 12

    world.broker.topics[undeliverable_topic(NAME)] = kept
    world.run_dry()
    world.check()


def test_a_target_without_a_leader_holds_nobody_up(world: World) -> None:
    world.add_mover()
    world.run(3)
    world.broker.leaderless.add(TopicPartition(TARGET, 1))
    waiting = world.send(1.0, partition=1)
    for _ in range(10):
        world.send(1.0, partition=0)
    world.run(20)
    assert len(world.broker.arrivals()) == 10

    world.broker.leaderless.clear()
    world.run_dry()
    world.check()
    assert waiting in {arrival.number for arrival in world.broker.arrivals()}


def test_a_target_that_takes_nothing_in_time_is_left_alone_for_a_while(world: World) -> None:
    world.broker.topics["slow"] = 1
    world.broker.refuses["slow"] = lambda _: "_MSG_TIMED_OUT"
    world.add_mover()
    world.run(3)
    late = world.send(1.0, topic="slow")
    for _ in range(10):
        world.send(1.5)
    world.run(30)
    assert len(world.broker.arrivals()) == 10
    assert world.observer.aborts["_MSG_TIMED_OUT"] <= 2

    del world.broker.refuses["slow"]
    world.run_dry()
    assert [arrival.number for arrival in world.broker.arrivals("slow")] == [late]


def test_a_broker_that_is_away_for_minutes(world: World) -> None:
    world.add_mover()
    world.add_mover(is_static=False)
    world.run(3)
    for number in range(30):
        world.send(WAITS[number % 8])
    world.run(1)
    world.broker.away_until = world.clock.monotonic() + 150
    world.run(150, 0.2)
    assert not [arrival for arrival in world.broker.arrivals() if arrival.visible > world.clock.now() - 100]

    back = world.clock.now()
    world.run_dry()
    world.check()
    assert max(arrival.visible for arrival in world.broker.arrivals() if arrival.due and arrival.due < back) < back + 20


def test_messages_of_others_in_a_delay_topic_are_kept(world: World) -> None:
    world.add_mover()
    world.run(3)
    world.broker.append(f"{NAME}.delay.1", b"what is this", headers=[("number", b"77")])
    world.broker.append(f"{NAME}.delay.1", b"0", headers=[("elsa-due-at", b"soon"), ("elsa-target", b"orders")])
    world.send(1.0)
    world.run_dry()

    letters = world.broker.arrivals(undeliverable_topic(NAME))
    assert {letter.number for letter in letters} == {77, -1}
    assert len(world.broker.arrivals()) == 1


def test_moved_messages_are_deleted_and_nothing_else(world: World) -> None:
    world.add_mover()
    world.run(3)
    for _ in range(10):
        world.send(1.0, key=b"a")
        world.send(200.0, key=b"a")
    world.run(130, 0.1)

    starts = {where.topic: start for where, start in world.broker.starts.items() if start}
    assert starts[f"{NAME}.delay.1"] >= 10
    # what it holds has not been moved (the broker's stand-in asserts it as well)
    world.run_dry()
    world.check()


def test_a_member_that_came_back_finds_partitions_that_were_added(world: World) -> None:
    first = world.add_mover("m")
    world.run(3)
    world.gone(first)
    for topic in list(world.broker.topics):
        if ".delay." in topic:
            world.broker.topics[topic] = 5
    second = world.add_mover("m")
    world.run(1)
    assert len(world.broker.owners) == 27

    world.run(20)
    assert len(world.broker.owners) == 45
    assert second.mover.is_ready
    world.send(1.0, partition=0)
    world.run_dry()
    world.check()


def test_a_mover_that_stops_leaves_nothing_behind(world: World) -> None:
    first, second = world.add_mover(), world.add_mover()
    world.run(3)
    for number in range(30):
        world.send(WAITS[number % 6])
        world.round()
    first.stop()
    assert all(owner in world.broker.members for owner in world.broker.owners.values())
    world.run_dry()

    world.check(lateness=1.5)
    assert second.mover.is_ready


class Machine(RuleBasedStateMachine):
    """Movers, faults, sends and time in any order; at the end everything is healed and has to arrive."""

    @initialize(movers=st.lists(st.booleans(), min_size=1, max_size=3), polled=st.integers(1, 30))
    def start(self, movers: list[bool], polled: int) -> None:
        self.world = World(most_polled=polled)
        self.world.broker.topics["other"] = 2
        for is_static in movers:
            self.world.add_mover(is_static=is_static)
        self.world.run(2.2, 0.1)

    @rule(
        waits=st.lists(st.sampled_from(WAITS) | st.floats(0.1, 400_000), min_size=1, max_size=10),
        key=st.sampled_from([b"a", b"b", None]),
        partition=st.sampled_from([None, 0, 1]),
        topic=st.sampled_from([TARGET, TARGET, "other"]),
    )
    def send(self, waits: list[float], key: bytes | None, partition: int | None, topic: str) -> None:
        for wait in waits:
            number = self.world.send(wait, key=key, partition=partition, topic=topic)
            if topic != TARGET:
                self.elsewhere.add(number)

    @property
    def elsewhere(self) -> set[int]:
        """Messages for the other topic."""
        found: set[int] = self.__dict__.setdefault("_elsewhere", set())
        return found

    @rule(rounds=st.integers(1, 60), step=st.sampled_from([0.02, 0.1, 0.3]))
    def run_on(self, rounds: int, step: float) -> None:
        for _ in range(rounds):
            self.world.round(step)

    @rule(seconds=st.floats(1, 100_000))
    def skip(self, seconds: float) -> None:
        self.world.skip(seconds)

    @rule(
        step=st.sampled_from(STEPS),
        when=st.sampled_from(["before", "after"]),
        action=st.sampled_from(ACTIONS),
    )
    def fault(self, step: str, when: str, action: Any) -> None:
        self.world.plan(step, when, action)

    @rule(is_static=st.booleans())
    def join(self, is_static: bool) -> None:
        if len(self.world.movers) < 4:
            self.world.add_mover(is_static=is_static)

    @precondition(lambda self: self.world.movers)
    @rule(index=st.integers(0, 3), kind=st.sampled_from(["stop", "kill", "put out"]))
    def leave(self, index: int, kind: str) -> None:
        mover = self.world.movers[index % len(self.world.movers)]
        if kind == "stop" and not self.world.broker.is_away:
            mover.stop()
        elif kind == "put out":
            for consumer in mover.consumers:
                if consumer in self.world.broker.members:
                    self.world.broker.put_out(consumer)
        else:
            self.world.gone(mover)

    @rule(seconds=st.floats(0.5, 40))
    def broker_away(self, seconds: float) -> None:
        self.world.broker.away_until = self.world.clock.monotonic() + seconds
        self.world.run(seconds, 0.3)

    @precondition(lambda self: self.world.sent)
    @rule(index=st.integers(0, 1_000))
    def cancel(self, index: int) -> None:
        self.world.cancel(index % len(self.world.sent))

    @rule(code=st.sampled_from(["MSG_SIZE_TOO_LARGE", "_MSG_TIMED_OUT", None]), digit=st.sampled_from(b"0123456789"))
    def refuse(self, code: str | None, digit: int) -> None:
        self.world.broker.refuses[TARGET] = lambda value: code if value and digit in value else None

    @rule()
    def delete_other(self) -> None:
        self.world.broker.topics.pop("other", None)

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        try:
            world.plans.clear()
            world.broker.refuses.clear()
            for mover in world.movers:
                world.gone(mover)
            world.skip(60)
            world.add_mover()
            world.run_dry()
            seen = {arrival.number for arrival in world.broker.arrivals("other")}
            for number in seen & self.elsewhere:
                del world.sent[number]
            assert seen <= self.elsewhere
            world.check()
        finally:
            world.end()


TestMachine = Machine.TestCase
TestMachine.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)
