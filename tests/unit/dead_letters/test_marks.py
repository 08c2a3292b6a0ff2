"""Which messages are handled: a set of offsets, and records from which it can be told again."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.dead_letters.marks import SPAN, Marks, read, records

OFFSETS = st.integers(0, 5 * SPAN)


def stored(before: Marks, after: Marks, known: dict[bytes, bytes | None]) -> dict[bytes, bytes | None]:
    """The compacted topic after one more change."""
    return known | dict(records("id", 3, before, after))


@settings(deadline=None)
@given(st.lists(st.tuples(st.lists(OFFSETS, max_size=5), OFFSETS), max_size=6))
def test_marks_are_a_set_of_offsets_and_come_back_from_their_records(steps: list[tuple[list[int], int]]) -> None:
    model: set[int] = set()
    base = 0
    marks, topic = Marks(), dict[bytes, bytes | None]()
    for offsets, upto in steps:
        model |= set(offsets)
        base = max(base, upto)
        before, marks = marks, marks.handle(offsets, upto)
        topic = stored(before, marks, topic)

    again = read("id", topic.items()).get(3, Marks())
    looked_at = {*model, base, base - 1, 0, *(offset + 1 for offset in model)}
    expected = {offset for offset in looked_at if offset in model or 0 <= offset < base}

    assert {offset for offset in looked_at if offset >= 0 and marks.has(offset)} == expected
    assert {offset for offset in looked_at if offset >= 0 and again.has(offset)} == expected
    assert again == marks


def test_what_the_base_has_passed_is_deleted() -> None:
    before = Marks().handle([1, SPAN + 1], base=0)
    after = before.handle([], base=SPAN)

    assert dict(records("id", 0, before, after)) == {b"1 id 0 base": b"8192", b"1 id 0 0": None}
    assert after.has(SPAN + 1)
    assert not after.has(SPAN + 2)


def test_a_record_is_small_whatever_it_says() -> None:
    _, (_, value) = records("id", 0, Marks(), Marks().handle(range(1, SPAN, 2), base=1))

    assert value is not None
    assert len(value) <= 1400


def test_records_of_an_earlier_topic_of_that_name_mean_nothing() -> None:
    topic = dict(records("old", 0, Marks(), Marks().handle([7], base=5)))

    assert read("new", topic.items()) == {}


def test_nothing_new_needs_no_record() -> None:
    marks = Marks().handle([7], base=5)

    assert list(records("id", 0, marks, marks.handle([7], base=2))) == []


@settings(deadline=None)
@given(st.lists(OFFSETS), OFFSETS, OFFSETS)
def test_marks_beyond_the_end_of_the_log_are_forgotten(offsets: list[int], base: int, end: int) -> None:
    marks = Marks().handle(offsets, base)
    cut = marks.until(end)

    assert all(cut.has(offset) == marks.has(offset) for offset in [*offsets, base - 1, base] if 0 <= offset < end)
    assert not any(cut.has(offset) for offset in [*offsets, base - 1, end] if offset >= end)


@pytest.mark.parametrize(
    ("key", "value", "what"),
    [
        (None, b"1", "is none of Elsa's"),
        (b"ann", b"1", "is none of Elsa's"),
        (b"\xff \xff \xff \xff", b"1", "another version"),
        (b"2 id 0 base", b"1", "another version"),
        (b"1 id 0 base", b"many", "is damaged"),
        (b"1 id zero base", b"1", "is damaged"),
        (b"1 id 0 0", b"%%%", "is damaged"),
    ],
)
def test_records_that_elsa_has_not_written_are_an_error(key: bytes | None, value: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read("id", [(key, value)])
