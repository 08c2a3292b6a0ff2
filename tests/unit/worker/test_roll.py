from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from elsa.worker.child import State
from elsa.worker.roll import Roll


class Bench:
    """Places as a roll sees them; what it asked for and told."""

    def __init__(self, count: int, *, ready_timeout: float = 600) -> None:
        self.places: list[Any] = [
            SimpleNamespace(index=index, is_done=False, child=SimpleNamespace(state=State.RUNNING))
            for index in range(count)
        ]
        self.roll = Roll(self.places, ready_timeout=ready_timeout)
        self.stopped: list[Any] = []
        self.told: list[str] = []

    def advance(self) -> bool:
        return self.roll.advance(
            stop=self.stopped.append, spawn=self.spawn, tell=lambda kind, *_, **__: self.told.append(kind)
        )

    def spawn(self, place: Any) -> None:
        place.child = SimpleNamespace(state=State.STARTING)

    def renew(self, index: int) -> None:
        """The process of this place ends and its successor starts, as the supervisor does it."""
        assert self.roll.replaces(self.places[index], self.places[index].child)
        self.spawn(self.places[index])
        self.roll.succeeded_by(self.places[index])


def test_the_next_is_stopped_only_when_the_successor_is_ready() -> None:
    bench = Bench(2)
    assert bench.advance()
    bench.renew(0)
    assert bench.advance()
    assert len(bench.stopped) == 1
    bench.places[0].child.state = State.RUNNING
    assert bench.advance()
    assert len(bench.stopped) == 2
    bench.renew(1)
    bench.places[1].child.state = State.RUNNING

    assert not bench.advance()
    assert bench.told == ["rolled"]


def test_a_place_without_a_process_gets_one_at_once() -> None:
    bench = Bench(1)
    bench.places[0].child = None
    assert bench.advance()

    assert bench.roll.tries(bench.places[0].child)
    assert bench.stopped == []


def test_places_that_are_done_are_passed_over() -> None:
    bench = Bench(2)
    bench.places[0].is_done = bench.places[1].is_done = True

    assert not bench.advance()
    assert bench.stopped == []


def test_a_process_that_finishes_its_work_when_it_is_stopped_counts_as_renewed() -> None:
    bench = Bench(2)
    bench.advance()
    bench.places[0].is_done = True

    assert bench.advance()
    assert len(bench.stopped) == 2


def test_a_successor_that_was_itself_replaced_has_failed() -> None:
    bench = Bench(2)
    bench.advance()
    bench.renew(0)
    bench.spawn(bench.places[0])

    assert not bench.advance()
    assert bench.told == ["roll_failed"]
    assert len(bench.stopped) == 1


def test_a_successor_that_the_system_refused_has_failed() -> None:
    bench = Bench(1)
    bench.advance()
    bench.places[0].child = None
    bench.roll.succeeded_by(bench.places[0])

    assert not bench.advance()
    assert bench.told == ["roll_failed"]


def test_a_late_successor_is_told_and_not_waited_for_any_longer() -> None:
    bench = Bench(2, ready_timeout=0)
    bench.advance()
    bench.renew(0)
    assert bench.roll.due_at is not None

    assert bench.advance()
    assert bench.told == ["roll_late"]
    assert len(bench.stopped) == 2
