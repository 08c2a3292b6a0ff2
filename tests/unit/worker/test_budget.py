"""What one process may hold in hand."""

from __future__ import annotations

from elsa.worker.budget import Budget


def test_room_shrinks_and_grows_with_what_is_in_hand() -> None:
    budget = Budget(messages=10, size=100)
    budget.take(4, 40)

    assert budget.room() == 6
    budget.give(4, 40)
    assert budget.room() == 10


def test_there_is_no_room_when_the_bytes_are_used_up() -> None:
    budget = Budget(messages=10, size=100)
    budget.take(1, 100)

    assert budget.room() == 0


def test_an_allowance_is_used_up_when_its_messages_are_handled() -> None:
    budget = Budget(messages=10, size=100, max_messages=2)
    budget.take(2, 2)

    assert budget.room() == 0
    assert not budget.is_used_up
    budget.give(2, 2)
    assert budget.is_used_up


def test_what_is_taken_back_unhandled_does_not_count() -> None:
    budget = Budget(messages=10, size=100, max_messages=2)
    budget.take(2, 2)
    budget.give(2, 2, handled=False)

    assert budget.room() == 2
    assert not budget.is_used_up
