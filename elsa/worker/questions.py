"""Questions to all worker processes at once: asked by HTTP threads, answered in the supervisor's loop."""

from __future__ import annotations

import itertools
from threading import Event
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from elsa.worker.child import Child, Place
    from elsa.worker.control import Message

#: the field of an answer that holds what was asked for
_PAYLOADS = {"samples": "snapshot", "status": "status"}


class _Question:
    def __init__(self, number: int, kind: str) -> None:
        self.number = number
        self.kind = kind
        self.waiting: set[Child] = set()
        self.answers: dict[int, Any] = {}
        self.is_done = Event()


class Questions:
    """Open questions. `ask` is for other threads, the rest belongs to the loop; `call` hands the loop a function."""

    def __init__(self, call: Callable[[Callable[[], None]], None], places: Callable[[], Iterable[Place]]) -> None:
        self._call = call
        self._places = places
        self._numbers = itertools.count(1)
        self._open: dict[int, _Question] = {}

    def ask(self, kind: str, timeout: float) -> dict[int, Any]:
        """The answers by place that came within `timeout` seconds; returns as soon as all are there."""
        question = _Question(next(self._numbers), kind)
        self._call(lambda: self._put(question))
        question.is_done.wait(timeout)
        self._call(lambda: self._close(question))
        return dict(question.answers)

    def take(self, place: Place, child: Child, message: Message) -> None:
        """An answer came; one that nobody waits for any more is fine."""
        question = self._open.get(message.get("id", 0))
        if question is not None and child in question.waiting:
            question.answers[place.index] = message.get(_PAYLOADS[message["type"]])
            self._heard(question, child)

    def forget(self, child: Child) -> None:
        """It ended and will not answer."""
        for question in list(self._open.values()):
            self._heard(question, child)

    def _put(self, question: _Question) -> None:
        for place in self._places():
            child = place.child
            # before its greeting a process is busy with imports
            if child is not None and child.has_greeted:
                question.waiting.add(child)
        for child in list(question.waiting):
            if not child.channel.send({"type": question.kind, "id": question.number}):
                question.waiting.discard(child)
        self._open[question.number] = question
        self._heard(question, None)

    def _heard(self, question: _Question, child: Child | None) -> None:
        if child is not None:
            question.waiting.discard(child)
        if not question.waiting:
            self._close(question)

    def _close(self, question: _Question) -> None:
        self._open.pop(question.number, None)
        question.is_done.set()
