"""The parent's side of a child process: time limits, and what comes too late for the turn it was meant for."""

from __future__ import annotations

import signal
from typing import Any, cast

import pytest

from elsa.worker.executors.processes import ChildProcess, InChild
from elsa.worker.executors.wire import End


class Line:
    """Says again and again what it was given, or each once."""

    def __init__(self, *messages: tuple[Any, ...], for_ever: bool = False) -> None:
        self._messages = list(messages)
        self._for_ever = for_ever
        self.received = 0

    def has_news(self, timeout: float | None) -> bool:
        return bool(self._messages)

    def receive(self) -> tuple[Any, ...]:
        self.received += 1
        assert self.received < 1_000, "it is listened to for ever"
        return self._messages[0] if self._for_ever else self._messages.pop(0)


def child(line: Line) -> ChildProcess:
    """A child of which there is only the line."""
    made = ChildProcess.__new__(ChildProcess)
    made.line = cast("Any", line)
    return made


def test_a_calls_heartbeats_are_told_until_its_end_comes() -> None:
    told: list[Any] = []
    end = End(resident=7)

    assert child(Line(("beat", 1), ("beat", 2), ("end", end))).end(None, told.append) is end
    assert told == [1, 2]


def test_heartbeats_without_a_pause_do_not_put_the_time_limit_off() -> None:
    told: list[Any] = []

    assert child(Line(("beat", 1), for_ever=True)).end(0.0, told.append) is None
    assert told == [1]


class Process:
    """Writes down what is done to it."""

    def __init__(self) -> None:
        self.done: list[Any] = []

    def signal(self, number: signal.Signals) -> None:
        self.done.append(number)

    def tell_stopping(self) -> None:
        self.done.append("stopping")


@pytest.mark.parametrize("is_late", [False, True])
def test_what_comes_too_late_for_its_turn_does_nothing_to_the_next_one(*, is_late: bool) -> None:
    runner = InChild(cast("Any", None), cast("Any", None))
    process, turn, following = Process(), cast("Any", object()), cast("Any", object())
    runner._process = cast("Any", process)
    runner._turn = following if is_late else turn
    runner._notify(turn)
    runner._kill(turn)

    assert process.done == ([] if is_late else ["stopping", signal.SIGKILL])
