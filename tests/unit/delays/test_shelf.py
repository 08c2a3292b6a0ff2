"""What the mover has of one partition: in order, a few, and nothing where nothing is due soon."""

from __future__ import annotations

from typing import Any

import pytest

from elsa.delays.shelf import MOST_MESSAGES, Shelf


class Raw:
    """A message in a delay topic, appended at so many seconds."""

    def __init__(self, offset: int, appended: float | None, size: int = 10) -> None:
        self._offset = offset
        self._appended = appended
        self._size = size

    def offset(self) -> int:
        return self._offset

    def timestamp(self) -> tuple[int, int]:
        return (0, -1) if self._appended is None else (2, round(self._appended * 1_000))

    def __len__(self) -> int:
        return self._size


def offsets(raws: list[Any]) -> list[int]:
    return [raw.offset() for raw in raws]


@pytest.fixture
def shelf() -> Shelf:
    made = Shelf(4, 10)
    assert made.put([Raw(offset, 100.0 + offset) for offset in range(10, 15)])
    return made


def test_messages_are_taken_in_order_when_they_are_due(shelf: Shelf) -> None:
    assert shelf.due == 114.0
    assert shelf.count_due(116.5) == 3
    assert shelf.first(113.9) is None
    assert offsets(shelf.take(116.5, 2)) == [10, 11]
    assert offsets(shelf.take(116.5, 9)) == [12]
    assert shelf.take(116.5, 9) == []
    assert len(shelf) == 2


def test_what_was_not_moved_comes_back_to_its_place(shelf: Shelf) -> None:
    size = shelf.size
    shelf.give_back(shelf.take(999, 3))

    assert offsets(shelf.take(999, 9)) == [10, 11, 12, 13, 14]
    assert shelf.size == 0
    assert size == 5 * 510


def test_taking_ends_before_a_message_that_has_to_go_alone(shelf: Shelf) -> None:
    assert offsets(shelf.take(999, 9, {12})) == [10, 11]
    assert shelf.first(999).offset() == 12


def test_what_is_fetched_twice_is_kept_once(shelf: Shelf) -> None:
    assert shelf.put([Raw(13, 113.0), Raw(14, 114.0), Raw(15, 115.0)])

    assert offsets(shelf.take(999, 99)) == [10, 11, 12, 13, 14, 15]


def test_a_message_without_a_stamp_has_nothing_to_wait_for() -> None:
    shelf = Shelf(4, None)
    shelf.put([Raw(0, None)])

    assert shelf.due == 0.0


def test_a_far_head_keeps_its_place_only_and_is_fetched_again_in_time(shelf: Shelf) -> None:
    assert shelf.is_far(100.0)
    assert not shelf.is_far(109.5)
    shelf.park()
    assert (len(shelf), shelf.size, shelf.parked, shelf.due) == (0, 0, (10, 114.0), 114.0)
    # what still comes is not kept
    assert shelf.put([Raw(15, 115.0)])
    assert len(shelf) == 0

    assert shelf.wake() == 10
    assert shelf.put([Raw(10, 110.0), Raw(11, 111.0)])
    assert offsets(shelf.take(999, 9)) == [10, 11]


def test_a_message_that_was_there_and_does_not_come_is_missed(shelf: Shelf) -> None:
    shelf.park()
    shelf.wake()
    assert not shelf.put([Raw(11, 111.0)])
    assert shelf.awaited == 10
    assert len(shelf) == 0

    # it was deleted
    shelf.skip()
    assert shelf.put([Raw(11, 111.0)])
    assert len(shelf) == 1


def test_fetching_ends_above_a_limit_and_goes_on_below_a_quarter_of_it() -> None:
    shelf = Shelf(4, 0)
    shelf.put([Raw(offset, 0.0) for offset in range(MOST_MESSAGES)])
    assert shelf.is_full(10**9)
    shelf.is_paused = True
    shelf.take(10, MOST_MESSAGES * 3 // 4)
    assert shelf.is_full(10**9)
    shelf.take(10, 1)
    assert not shelf.is_full(10**9)
    # the same by bytes
    assert shelf.is_full(shelf.size)
