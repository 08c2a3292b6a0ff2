"""Everything that can happen to movers, at every step of their transactions: each message arrives once, none early."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from elsa.delays.cancelled import CLOCK_KEY
from elsa.delays.plan import ABSENCE_SECONDS
from elsa.delays.topics import undeliverable_topic
from elsa.message import TopicPartition
from elsa.names import delay_topic

from .cluster import NAME, TARGET, Transaction
from .faults import ACTIONS, WAITS, abort, crash
from .simulation import STEPS, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .simulation import SimulatedMover


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
    world: World, step: str, when: str, action: Callable[[SimulatedMover], None], *, is_static: bool
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


def test_a_cancellation_in_a_partition_that_was_added_counts(world: World) -> None:
    world.add_mover()
    world.run(3)
    world.broker.topics[f"{NAME}.cancelled"] = 12
    for number in [world.send(3.0) for _ in range(20)]:
        world.cancel(number)
    kept = world.send(3.0)
    world.run_dry()

    assert [arrival.number for arrival in world.broker.arrivals()] == [kept]


def test_a_mover_that_died_while_it_asked_for_the_time_hides_no_cancellation(world: World) -> None:
    world.add_mover()
    world.run(3)
    left = Transaction("gone", 0, world.clock.monotonic())
    world.broker.epochs["gone"] = 0
    world.broker.open["gone"] = left
    for partition in range(3):
        world.broker.append(f"{NAME}.cancelled", None, key=CLOCK_KEY, partition=partition, transaction=left)
    for number in [world.send(3.0) for _ in range(20)]:
        world.cancel(number)
    world.run(5)
    assert left.state == "open"
    world.run_dry()

    assert world.broker.arrivals() == []


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

    def delete(_: SimulatedMover) -> None:
        del world.broker.topics["other"]

    world.plan("begin", "before", delete)
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


@pytest.mark.parametrize("code", ["_UNKNOWN_PARTITION", "UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"])
def test_what_the_client_has_not_heard_of_yet_is_tried_again(world: World, code: str) -> None:
    """A client that remembers a topic with fewer partitions once had a message taken for undeliverable."""
    world.broker.topics["grown"] = 8
    world.broker.refuses["grown"] = lambda _: code
    world.add_mover()
    world.run(3)
    late = world.send(1.0, topic="grown", partition=7)
    for _ in range(10):
        world.send(1.0)
    world.run(10)
    assert len(world.broker.arrivals()) == 10

    del world.broker.refuses["grown"]
    world.run_dry()
    assert world.broker.arrivals(undeliverable_topic(NAME)) == []
    assert [arrival.number for arrival in world.broker.arrivals("grown")] == [late]


def test_a_delay_topic_that_is_gone_ends_the_session_which_would_not_look_for_it(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    shorter = delay_topic(NAME, 1)
    world.add_mover()
    world.run(3)
    world.broker.refuses[shorter] = lambda _: "UNKNOWN_TOPIC_OR_PART"
    for _ in range(5):
        world.send(5.5)
    with caplog.at_level(logging.INFO, "elsa.delays"):
        world.run(20)
    assert "mover_restart" in [record.__dict__.get("event") for record in caplog.records]

    del world.broker.refuses[shorter]
    world.run_dry()
    assert len(world.broker.arrivals()) == 5


@pytest.mark.parametrize("partitions", [None, 1])
@pytest.mark.parametrize("seconds", [10.0, 200.0])
def test_what_is_not_there_is_waited_for(world: World, partitions: int | None, seconds: float) -> None:
    """The broker that is asked may not have heard of it yet; half a minute is enough for that."""
    world.broker.topics["new"] = 8
    world.add_mover()
    world.run(3)
    number = world.send(1.0, topic="new", partition=7)
    if partitions is None:
        del world.broker.topics["new"]
    else:
        world.broker.topics["new"] = partitions
    world.run(seconds)
    world.broker.topics["new"] = 8
    world.run_dry()

    kept = [arrival.number for arrival in world.broker.arrivals(undeliverable_topic(NAME))]
    delivered = [arrival.number for arrival in world.broker.arrivals("new")]
    assert (delivered, kept) == (([number], []) if seconds < ABSENCE_SECONDS else ([], [number]))


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
    assert (world.observer.outcomes["delivered"], world.observer.outcomes["undeliverable"]) == (17, 3)


def test_a_dead_letter_that_is_refused_is_kept_without_its_body(world: World) -> None:
    for topic in (TARGET, undeliverable_topic(NAME)):
        world.broker.refuses[topic] = lambda given: "MSG_SIZE_TOO_LARGE" if given == b"0" else None
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


@pytest.mark.parametrize("is_static", [True, False])
def test_what_was_moved_does_not_come_again_when_the_offsets_are_forgotten(world: World, *, is_static: bool) -> None:
    """As a broker does after 7 days without a member."""
    mover = world.add_mover(is_static=is_static)
    world.run(3)
    for _ in range(10):
        world.send(1.0)
    world.run(5)
    mover.stop()
    assert len(world.broker.arrivals()) == 10
    world.broker.commits.clear()
    world.add_mover("next")
    world.run(5)

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
