"""Whose answers are waited for, and what it means when they do not come; with a reader made of a list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from elsa import exits
from elsa.clock import SYSTEM
from elsa.config import load
from elsa.control.client import Answers, Caller
from elsa.control.protocol import Answer, Command, Status, Target, encode
from elsa.errors import CommandError, NoWorker, UnknownTarget
from elsa.kafka.reader import EndOfPartition
from elsa.message import Message

if TYPE_CHECKING:
    from elsa.kafka.reader import Reader

CONTROL, STATUS = "shop.control", "shop.status"
ALL = Target()


def report(worker: str, slot: int | None = None) -> Message:
    """A worker says how it is."""
    status = Status(worker=worker, host="host", pid=1, version="0.1.0", started_at=0.0, slot=slot)
    return Message(STATUS, 0, 0, worker.encode(), encode(status), (), 0.0, "append", None, None)


def end(worker: str) -> Message:
    """A worker has ended."""
    return Message(STATUS, 0, 0, worker.encode(), None, (), 0.0, "append", None, None)


def answer(worker: str, *, command: str = "1", **facts: Any) -> Message:
    value = encode(Answer(id=command, worker=worker, **facts))
    return Message(CONTROL, 0, 0, command.encode(), value, (), 0.0, "append", None, None)


ALL_REPORTS_READ = EndOfPartition(STATUS, 0, 9)


class Script:
    """Gives an item with each read; behind the last one the time is up, unless nobody asks any more."""

    def __init__(self, *items: Any) -> None:
        self._items = list(items)
        self.is_exhausted = False

    def read(self, timeout: float) -> list[Any]:
        if self._items:
            return [self._items.pop(0)]
        self.is_exhausted = True
        raise TimeoutError

    @property
    def left(self) -> int:
        return len(self._items)


def collect(script: Script, target: Target = ALL, *, reads_status: bool = True) -> Answers:
    caller = Caller(load({"name": "shop"}, env={}).settings)
    command = Command(name="ping", id="1", target=target)
    return caller._collect(cast("Reader", script), command, reads_status, SYSTEM.monotonic() + 60)


def test_it_ends_when_everybody_who_runs_has_answered() -> None:
    script = Script(report("a"), report("b"), ALL_REPORTS_READ, answer("b", result=2), answer("a", result=1), "unread")
    found = collect(script)

    assert script.left == 1
    assert found.results == {"a": 1, "b": 2}
    assert found.missing == []


def test_an_answer_may_come_before_it_is_known_who_runs() -> None:
    script = Script(answer("a"), report("a"), report("b"), answer("b"), ALL_REPORTS_READ, "unread")

    assert collect(script).missing == []
    assert script.left == 1


def test_who_has_ended_is_not_waited_for() -> None:
    found = collect(Script(report("a"), report("b"), answer("a"), end("b"), ALL_REPORTS_READ))

    assert found.expected == {"a"}


def test_only_who_is_meant_is_waited_for() -> None:
    found = collect(Script(report("a", 0), report("b", 1), ALL_REPORTS_READ, answer("b", result=2)), Target(worker="1"))

    assert found.expected == {"b"}


def test_answers_to_others_and_junk_are_left() -> None:
    junk = Message(CONTROL, 0, 0, None, b"hello", (), 0.0, "append", None, None)
    found = collect(Script(report("a"), ALL_REPORTS_READ, answer("a", command="2"), junk, answer("a", result="mine")))

    assert found.results == {"a": "mine"}


def test_where_nobody_is_known_the_whole_time_is_waited() -> None:
    script = Script(ALL_REPORTS_READ, answer("a"))
    with pytest.raises(TimeoutError):
        collect(script)

    assert script.is_exhausted


def checked(*answers: Answer, expected: set[str] | None = None, target: Target = ALL) -> CommandError | None:
    found = Answers({each.worker: each for each in answers}, expected or set())
    try:
        found.check(target, "shop", 2.0)
    except CommandError as error:
        return error
    return None


DONE = Answer(id="1", worker="a", result=1)
ABSENT = Answer(id="1", worker="b", error="there is no handler x here", is_absent=True)
REFUSED = Answer(id="1", worker="c", error="not so")


def test_that_some_have_nothing_of_what_was_named_is_no_error() -> None:
    assert checked(DONE, ABSENT, expected={"a", "b"}) is None


def test_that_nobody_has_it_is_one() -> None:
    error = checked(ABSENT, expected={"b"})

    assert isinstance(error, UnknownTarget)
    assert str(error) == "no worker of 'shop' has it: there is no handler x here"
    assert exits.code_of(error) == exits.NOT_FOUND


def test_that_nobody_answers_says_who_should_have() -> None:
    error = checked(expected={"a"})

    assert isinstance(error, NoWorker)
    assert str(error) == "no worker of 'shop' answered within 2 s, though a should"
    assert error.missing == ["a"]
    assert exits.code_of(error) == exits.NO_WORKER


def test_that_nobody_is_there_asks_for_the_apps_name() -> None:
    error = checked(target=Target(worker="7"))

    assert isinstance(error, NoWorker)
    assert "answered within 2 s (asked was 7)" in str(error)
    assert "is it the app's name?" in str(error)


def test_who_refused_and_who_is_missing_are_told_with_what_the_others_have_done() -> None:
    error = checked(DONE, REFUSED, expected={"a", "c", "d"})

    assert error is not None
    assert str(error) == "c: not so\nd: no answer within 2 s"
    assert (error.results, error.refused, error.missing) == ({"a": 1}, {"c": "not so"}, ["d"])
    assert exits.code_of(error) == exits.FAILED
