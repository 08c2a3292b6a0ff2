"""A passage over the log knows below which offset nothing is open."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elsa.dead_letters import scan as scan_module
from elsa.dead_letters.filters import Filter
from elsa.dead_letters.marks import Marks

from .world import World

BILLS = Filter(handlers=("bill",))


def world(*handlers: str) -> World:
    made = World()
    for offset, handler in enumerate(handlers):
        made.add(0, offset, handler)
    return made


def seen(made: World, wanted: Filter, **options: Any) -> tuple[list[int], dict[int, int]]:
    scan = made.scan(wanted, **options)
    return [letter.offset for letter in scan], scan.bases()


def test_all_that_was_meant_is_behind_the_base() -> None:
    assert seen(world("bill", "bill"), BILLS) == ([0, 1], {0: 2})


def test_the_first_that_was_not_meant_holds_the_base() -> None:
    assert seen(world("bill", "mail", "bill"), BILLS) == ([0, 2], {0: 1})


def test_what_is_handled_is_passed_and_shown_only_when_asked_for() -> None:
    made = world("bill", "mail", "bill")
    marks = {0: Marks().handle([1], base=1)}

    assert seen(made, BILLS, marks=marks) == ([2], {0: 3})
    assert seen(made, BILLS, marks=marks, again=True) == ([0, 2], {0: 3})


def test_one_that_is_left_holds_the_base() -> None:
    scan = world("bill", "bill").scan(BILLS)
    for letter in scan:
        if letter.offset == 0:
            scan.leave(letter)

    assert scan.bases() == {0: 0}


def test_a_handled_one_that_is_left_holds_nothing() -> None:
    scan = world("bill", "bill").scan(BILLS, marks={0: Marks(1)}, again=True)
    for letter in scan:
        scan.leave(letter)

    assert scan.bases() == {0: 1}


def test_markers_at_the_end_of_a_partition_are_passed() -> None:
    made = world("bill")
    made.ends[0] = 5

    assert seen(made, BILLS) == ([0], {0: 5})


def test_what_lies_before_a_time_may_be_open() -> None:
    assert seen(world("bill", "bill", "bill"), BILLS, since={0: 1}) == ([1, 2], {0: 0})


def test_only_what_is_named_is_read() -> None:
    made = world(*["bill"] * 9)
    made.add(1, 0)

    assert seen(made, Filter(places=frozenset({(0, 3), (0, 5)}))) == ([3, 5], {0: 0})
    assert made.read_from == [{0: 3}]


def test_how_far_it_is() -> None:
    scan = world(*["bill"] * 4).scan(BILLS)
    found = [scan.passed for _ in scan]

    assert (scan.span, found, scan.passed) == (4, [1, 2, 3, 4], 4)


def test_it_tells_how_far_it_is_also_while_nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_module, "LOOKED_AFTER", 2)
    scan = world(*["mail"] * 5).scan(BILLS)
    passed: list[int] = []

    assert list(scan.letters(lambda: passed.append(scan.passed))) == []
    assert passed == [1, 3]


def test_a_stop_ends_it() -> None:
    stop = threading.Event()
    scan = world("bill", "mail", "bill").scan(BILLS, stop=stop)
    iterator = iter(scan)
    next(iterator)
    stop.set()

    assert list(iterator) == []
    assert scan.bases() == {0: 1}


@settings(deadline=None)
@given(
    handlers=st.lists(st.sampled_from(["bill", "mail"]), max_size=12),
    handled=st.sets(st.integers(0, 11)),
    low=st.integers(0, 12),
    since=st.integers(0, 12),
    again=st.booleans(),
    stop_after=st.integers(0, 12),
)
def test_nothing_open_lies_below_the_base(
    *, handlers: list[str], handled: set[int], low: int, since: int, again: bool, stop_after: int
) -> None:
    made = world(*handlers)
    if not handlers:
        return
    made.lows[0] = min(low, len(handlers))
    marks = Marks().handle(handled, base=0)
    scan = made.scan(BILLS, marks={0: marks}, since={0: since}, again=again)
    taken: set[int] = set()
    for letter in scan:
        taken.add(letter.offset)
        if len(taken) > stop_after:
            break
    after = marks.handle(taken, scan.bases().get(0, 0))

    there = range(made.lows[0], len(handlers))
    assert {offset for offset in there if after.has(offset)} == {o for o in there if marks.has(o) or o in taken}


@pytest.mark.parametrize("again", [False, True])
def test_an_empty_log_is_not_read(*, again: bool) -> None:
    made = world("bill")
    made.lows[0] = 1

    assert seen(made, BILLS, again=again) == ([], {})
    assert made.read_from == [{}]
