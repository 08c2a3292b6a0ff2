"""The account has to be able to fail: made-up records with losses, repetitions, disorder and zombies."""

from __future__ import annotations

from typing import Any

from tests.stress.account import (
    FENCED_SECONDS,
    SLACK_SECONDS,
    Evidence,
    Trouble,
    expelled,
    settle,
    unfenced,
    unfinished,
)
from tests.stress.journal import DONE, LOST, Handled
from tests.stress.kinds import Kind

FREE, ORDERED, EXACT = Kind("free"), Kind("ordered", is_ordered=True), Kind("exact", is_exact=True)


def done(number: int, at: float, *, worker: int = 0, lane: int = 0, partition: int = 0) -> Handled:
    return Handled(DONE, 0, worker, 1_000 + worker, lane, partition, number, number, at)


def evidence(*handled: Handled, count: int | None = None, **given: Any) -> Evidence:
    confirmed = {record.number for record in handled} if count is None else set(range(count))
    found: dict[str, Any] = {"confirmed": confirmed, "rejects": (), "dead": (), "began": 0.0, "ended": 100.0}
    return Evidence(**(found | {"handled": handled} | given))


def test_a_run_in_which_nothing_happened_has_no_complaints() -> None:
    line = settle(ORDERED, evidence(done(0, 1.0), done(1, 2.0), done(2, 3.0)))

    assert (line.produced, line.handled, line.lost, line.duplicates, line.out_of_order) == (3, 3, 0, 0, 0)
    assert line.complaints == []


def test_a_confirmed_message_that_nobody_handled_is_lost() -> None:
    found = evidence(done(0, 1.0), done(2, 2.0), count=4)
    line = settle(FREE, found)

    assert (line.lost, line.examples["lost"]) == (2, [1, 3])
    assert line.complaints == ["free: 2 lost"]
    assert unfinished(found) == 2


def test_a_message_that_kafka_never_confirmed_is_not_lost() -> None:
    line = settle(FREE, evidence(done(0, 1.0), done(9, 2.0), count=1))

    assert (line.produced, line.handled, line.lost) == (1, 2, 0)


def test_a_dead_letter_is_not_lost() -> None:
    found = evidence(done(0, 1.0), count=2, rejects={1}, dead=[1, 1])
    line = settle(FREE, found)

    assert (line.lost, line.dead_letters, line.dead_duplicates) == (0, 1, 1)
    assert line.complaints == []
    assert unfinished(found) == 0


def test_a_dead_letter_without_a_reason_is_told() -> None:
    line = settle(FREE, evidence(done(0, 1.0), count=2, dead=[1]))

    assert line.complaints == ["free: 1 dead letters without a reason"]


def test_a_rejected_message_that_was_handled_is_told() -> None:
    line = settle(FREE, evidence(done(0, 1.0), rejects={0}))

    assert line.complaints == ["free: 1 handled though they were rejected"]


def test_a_repetition_is_explained_by_the_trouble_of_who_handled_it() -> None:
    found = evidence(done(0, 50.0, worker=1), done(0, 51.0, worker=2))
    ours, others = (Trouble("kill", 52.0, 52.0, worker) for worker in (1, 0))
    earlier = Trouble("kill", 50.0 - SLACK_SECONDS - 1, 50.0 - SLACK_SECONDS - 1, 1)

    assert settle(FREE, found, [ours]).unexplained == 0
    assert settle(FREE, found, [Trouble("broker-kill", 40.0, 60.0)]).unexplained == 0
    assert settle(FREE, found, [others]).complaints == ["free: 1 handled again where nothing had failed"]
    assert settle(FREE, found, [earlier]).unexplained == 1
    assert settle(FREE, found).duplicates == 1


def test_a_handler_that_is_exact_has_no_excuse() -> None:
    found = evidence(done(0, 50.0), done(0, 51.0))

    assert settle(EXACT, found, [Trouble("kill", 50.0, 50.0, 0)]).unexplained == 1


def test_a_number_that_comes_after_a_higher_one_of_its_key_is_out_of_order() -> None:
    handled = [done(0, 1.0), done(2, 2.0), done(1, 3.0)]

    assert settle(ORDERED, evidence(*handled)).complaints == ["ordered: 1 out of order"]
    assert settle(ORDERED, evidence(*handled)).examples["out_of_order"] == [1]
    assert settle(FREE, evidence(*handled)).out_of_order == 0


def test_keys_and_repetitions_do_not_count_as_disorder() -> None:
    other_key = [done(5, 1.0, lane=1), done(0, 2.0), done(1, 3.0)]
    repeated = [done(0, 1.0), done(1, 2.0), done(0, 3.0), done(1, 4.0), done(2, 5.0)]

    assert settle(ORDERED, evidence(*other_key)).out_of_order == 0
    assert settle(ORDERED, evidence(*repeated)).out_of_order == 0


def test_the_longest_stall_is_that_of_the_partition_that_stood_still() -> None:
    busy = [done(number, float(number)) for number in range(100)]
    still = [done(200, 1.0, partition=1), done(201, 31.5, partition=1), done(202, 60.0, partition=1)]

    assert settle(FREE, evidence(*busy)).longest_stall == 1.0
    assert settle(FREE, evidence(*busy, *still)).longest_stall == 40.0
    # what is handled after the stream has ended is no stall
    assert settle(FREE, evidence(*busy, done(300, 500.0))).longest_stall == 1.0


def test_a_zombie_that_never_hears_of_it_is_told() -> None:
    frozen = Trouble("freeze", 10.0, 20.0, 1, fences=True)

    def lost(at: float, worker: int = 1) -> Handled:
        return Handled(LOST, 0, worker, 7, 0, 0, 0, 0, at)

    assert unfenced([lost(21.0)], [frozen]) == []
    assert unfenced([], [frozen]) == [frozen]
    assert unfenced([lost(21.0, worker=2), lost(9.0), lost(20.1 + FENCED_SECONDS)], [frozen]) == [frozen]
    assert unfenced([], [Trouble("kill", 10.0, 10.0, 1)]) == []


def test_who_was_frozen_while_a_broker_came_back_may_have_been_given_another_session() -> None:
    frozen = Trouble("freeze", 10.0, 20.0, 1, fences=True)
    assert unfenced([], [frozen, Trouble("broker-stop", 8.0, 12.0)]) == []
    assert unfenced([], [frozen, Trouble("broker-stop", 1.0, 4.0)]) == [frozen]


def test_what_a_worker_was_told_to_have_lost_explains_that_it_comes_again() -> None:
    again = [done(5, 12.0), done(5, 22.0)]
    told = [Handled(LOST, 0, worker, 7, 0, 0, 0, 0, 20.0) for worker in (0, 1)]
    assert settle(FREE, evidence(*again), expelled(told[:1])).unexplained == 0
    assert settle(FREE, evidence(*again), expelled(told[1:])).unexplained == 1


def test_attempts_of_others_explain_what_comes_back_by_a_topic() -> None:
    again = [done(5, 12.0), done(5, 14.0)]
    elsewhere = [Trouble("kill", 10.0, 10.0, 9)]
    assert settle(FREE, evidence(*again), elsewhere).unexplained == 1
    assert settle(Kind("moved", is_moved=True), evidence(*again), elsewhere).unexplained == 0
