from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from elsa.worker.ends import End, judge

FAILURE = {"error": "no module named 'shop'"}
FATAL = {"error": "no folder for the slots", "fatal": True}


def place(**facts: Any) -> Any:
    return SimpleNamespace(**{"is_done": False, "generation": 2, "has_served": True, **facts})


def child(**facts: Any) -> Any:
    known = {"finished": None, "is_dismissed": False, "failure": None, "has_greeted": True}
    return SimpleNamespace(**{**known, **facts})


def roll(*, replaces: bool = False, tries: bool = False, will_renew: bool = False) -> Any:
    return SimpleNamespace(replaces=lambda *_: replaces, tries=lambda _: tries, will_renew=lambda _: will_renew)


@pytest.mark.parametrize(
    ("where", "who", "during", "expected"),
    [
        (place(), child(), None, End.DIED),
        (place(), child(failure=FAILURE, has_greeted=False), None, End.DIED),
        (place(is_done=True), child(), None, End.LAST),
        (place(), child(finished="burst"), None, End.LAST),
        (place(), child(finished="stopped"), None, End.DIED),
        (place(), child(is_dismissed=True), roll(replaces=True), End.RENEWED),
        (place(), child(is_dismissed=True), roll(), End.WANTED),
        (place(), child(is_dismissed=True), None, End.WANTED),
        # before it has greeted nobody knows whether it ever will
        (place(generation=1), child(has_greeted=False), None, End.FATAL),
        (place(generation=2), child(has_greeted=False), None, End.DIED),
        (place(has_served=False), child(failure=FAILURE, has_greeted=False), None, End.FATAL),
        (place(), child(failure=FATAL), None, End.FATAL),
        (place(), child(failure=FATAL), roll(tries=True), End.DIED),
        (place(), child(failure=FATAL, has_greeted=False), None, End.DIED),
    ],
)
def test_what_an_end_means_depends_on_who_wanted_it_and_how_far_the_process_had_come(
    where: Any, who: Any, during: Any, expected: End
) -> None:
    assert judge(where, who, during, is_stopping=False) is expected


def test_while_all_is_stopping_every_end_is_the_last_of_its_place() -> None:
    assert judge(place(), child(failure=FATAL), roll(replaces=True), is_stopping=True) is End.LAST


@pytest.mark.parametrize(
    ("where", "who", "during", "expected"),
    [
        (place(generation=1, has_served=False), child(failure=FAILURE, has_greeted=False), None, End.BROKEN),
        (place(generation=1), child(has_greeted=False), None, End.BROKEN),
        (place(), child(failure=FAILURE, has_greeted=False), roll(tries=True), End.BROKEN),
        (place(), child(failure=FATAL), None, End.BROKEN),
        # the code before the change: the roll is on its way
        (place(), child(failure=FAILURE, has_greeted=False), roll(will_renew=True), End.IDLE),
        # it could be run, and died of something else
        (place(), child(), None, End.DIED),
        (place(), child(is_dismissed=True), roll(replaces=True), End.RENEWED),
        (place(), child(is_dismissed=True, has_greeted=False), None, End.WANTED),
    ],
)
def test_where_code_is_waited_for_what_could_not_start_is_the_codes_fault(
    where: Any, who: Any, during: Any, expected: End
) -> None:
    assert judge(where, who, during, is_stopping=False, waits_for_code=True) is expected


@pytest.mark.parametrize("who", [child(is_dismissed=True), child(failure=FAILURE, has_greeted=False), child()])
def test_while_code_is_waited_for_every_place_stays_empty(who: Any) -> None:
    assert judge(place(), who, None, is_stopping=False, waits_for_code=True, is_broken=True) is End.IDLE


def test_a_stop_while_code_is_waited_for_is_the_end() -> None:
    assert judge(place(), child(), None, is_stopping=True, waits_for_code=True, is_broken=True) is End.LAST
