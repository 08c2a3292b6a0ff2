from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from elsa.worker.crew import Crew
from elsa.worker.spec import WorkerSpec


def crew() -> Crew:
    board: Any = SimpleNamespace(drop=lambda _: None)
    return Crew(WorkerSpec(target="shop:app"), 0, board, command=[], min_life=5, longest_backoff=30)


def child(**facts: Any) -> Any:
    sent: list[dict[str, Any]] = []
    known = {"kill_at": None, "silent_at": lambda _: None, "has_greeted": True}
    return SimpleNamespace(**{**known, **facts}, channel=SimpleNamespace(send=sent.append), sent=sent)


def test_new_places_are_to_be_filled() -> None:
    made = crew()

    assert [place.index for place in made.resize(2)] == [0, 1]
    assert made.resize(2) == []
    assert [place.index for place in made.resize(3)] == [2]


def test_surplus_places_are_done_and_wanted_again_when_the_number_rises() -> None:
    made = crew()
    made.resize(3)
    assert made.resize(1) == []
    assert [place.is_done for place in made.places] == [False, True, True]

    assert [place.index for place in made.resize(2)] == [1]
    assert [place.is_done for place in made.places] == [False, False, True]


def test_a_surplus_place_whose_process_still_runs_is_filled_when_that_has_ended() -> None:
    made = crew()
    made.resize(2)
    made.places[1].child = child()
    made.resize(1)

    assert made.resize(2) == []
    assert not made.places[1].is_done


def test_a_place_whose_work_is_done_is_not_filled_again() -> None:
    made = crew()
    made.resize(2)
    made.places[1].is_done = True
    made.resize(1)

    assert made.resize(2) == []
    assert made.places[1].is_done


def test_a_signal_reaches_those_that_have_a_handler_for_it() -> None:
    made = crew()
    made.resize(2)
    seen: list[Any] = []
    made.places[0].child = child(signal=seen.append)
    made.places[1].child = child(signal=seen.append, has_greeted=False)
    made.signal("USR1")  # type: ignore[arg-type]  # any value will do

    assert seen == ["USR1"]


def test_the_next_thing_to_do_is_that_of_the_earliest_time() -> None:
    made = crew()
    made.resize(3)
    assert made.due_at(60) is None
    made.places[0].due_at = 30.0
    made.places[1].child = child(kill_at=20.0)
    made.places[2].child = child(silent_at=lambda after: after - 50.0)

    assert made.due_at(60) == 10.0
