"""What one process may hold in hand, and that no partition of it waits for another one's handler."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from elsa.worker import budget as module
from elsa.worker.budget import Budget


def test_room_shrinks_and_grows_with_what_is_in_hand() -> None:
    budget = Budget(messages=10, size=100)
    budget.share(1)
    budget.take(4, 40)

    assert budget.room(4, 40) == 4
    budget.give(4, 40)
    assert budget.room(0, 0) == 8


def test_a_partition_that_holds_little_has_room_when_others_hold_much() -> None:
    budget = Budget(messages=100, size=1_000)
    budget.share(2)
    budget.take(80, 100)

    assert budget.room(80, 100) == 0
    assert budget.room(0, 0) == 10
    budget.take(10, 10)
    assert budget.room(10, 10) == 0


def test_bytes_stop_those_who_hold_many_of_them() -> None:
    budget = Budget(messages=100, size=1_000)
    budget.share(2)
    budget.take(1, 850)

    assert budget.room(1, 850) == 0
    assert budget.room(0, 0) > 0
    assert budget.room(1, 50) > 0


@given(
    messages=st.integers(1, 200),
    partitions=st.integers(1, 20),
    wishes=st.lists(st.tuples(st.integers(0, 19), st.integers(1, 50), st.booleans()), max_size=60),
)
def test_whatever_is_taken_the_whole_stays_bounded_and_nobody_is_left_out(
    messages: int, partitions: int, wishes: list[tuple[int, int, bool]]
) -> None:
    budget = Budget(messages=messages, size=10**9)
    budget.share(partitions)
    held = [0] * partitions
    for number, count, is_taken in wishes:
        who = number % partitions
        if is_taken:
            room = min(count, budget.room(held[who], held[who]))
            budget.take(room, room)
            held[who] += room
        else:
            given_back = min(count, held[who])
            budget.give(given_back, given_back)
            held[who] -= given_back
        assert all(held[one] > 0 or budget.room(0, 0) >= 1 for one in range(partitions))
    # one message each is never refused, also where the budget is smaller than that
    assert sum(held) <= max(messages, messages - messages // 5 + partitions)


def test_retries_that_wait_make_room() -> None:
    budget = Budget(messages=10, size=100)
    budget.share(1)
    budget.take(8, 8)
    assert budget.room(8, 8) == 0

    budget.set_aside(3)
    assert budget.room(5, 8) == 3
    budget.set_aside(-3)
    assert budget.room(8, 8) == 0


def test_what_waits_in_all_partitions_together_is_bounded_with_hysteresis() -> None:
    budget = Budget(messages=10, size=100)
    budget.buffer(module.BUFFERED_MESSAGES, 0)
    assert not budget.is_flooded
    budget.buffer(1, 0)
    assert budget.is_flooded

    budget.buffer(-module.BUFFERED_MESSAGES // 2, 0)
    assert budget.is_flooded
    budget.buffer(-module.BUFFERED_MESSAGES // 3, 0)
    assert not budget.is_flooded
    budget.buffer(0, module.BUFFERED_BYTES + 1)
    assert budget.is_flooded


def test_a_slice_of_each_of_a_thousand_partitions_is_bounded_too() -> None:
    budget = Budget(messages=10, size=100)
    budget.share(1_000)
    assert budget.slice(500) == 500

    budget.buffer(module.BUFFERED_MESSAGES + 1, 0)
    assert budget.slice(500) * 1_000 <= module.SLICED_MESSAGES
    budget.share(1_000_000)
    assert budget.slice(500) == module.LEAST_SLICE
    budget.share(-1_000_900)
    assert budget.slice(500) == 500


def test_an_allowance_is_used_up_when_its_messages_are_handled() -> None:
    budget = Budget(messages=10, size=100, max_messages=2)
    budget.take(2, 2)

    assert budget.room(0, 0) == 0
    assert not budget.is_used_up
    budget.give(2, 2)
    assert budget.is_used_up


def test_what_is_taken_back_unhandled_does_not_count() -> None:
    budget = Budget(messages=10, size=100, max_messages=2)
    budget.take(2, 2)
    budget.give(2, 2, handled=False)

    assert budget.room(0, 0) == 2
    assert not budget.is_used_up
