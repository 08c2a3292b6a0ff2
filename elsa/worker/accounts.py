"""Splits what a turn came to by task, where several tasks share a topic; made by a turn when the task changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.observer import HandlerObserver


class _Account:
    """What one task's messages came to."""

    __slots__ = ("counts", "durations", "observer")

    def __init__(self, observer: HandlerObserver) -> None:
        self.observer = observer
        self.durations: list[float] = []
        self.counts = {"ok": 0}


class Accounts:
    """Those of one turn; belongs to the thread (or task) that runs it."""

    __slots__ = ("_by_observer", "_calls", "_ok")

    def __init__(self) -> None:
        # by identity: users write observers, and may make them equal
        self._by_observer: dict[int, _Account] = {}
        #: how many calls, and how many messages that are done, have an account
        self._calls = 0
        self._ok = 0

    def put_down(
        self, observer: HandlerObserver, durations: Sequence[float], counts: Mapping[str, int], ok: int
    ) -> None:
        """What is new since the last time is of this one.

        `durations` and `ok` are those of the whole turn, seconds and messages; `counts` has only what is new.
        """
        account = self._by_observer.get(id(observer))
        if account is None:
            account = self._by_observer[id(observer)] = _Account(observer)
        account.durations += durations[self._calls :]
        account.counts["ok"] += ok - self._ok
        for outcome, count in counts.items():
            account.counts[outcome] = account.counts.get(outcome, 0) + count
        self._calls, self._ok = len(durations), ok

    def tell(self) -> None:
        """Tell each observer its part."""
        for account in self._by_observer.values():
            account.observer.finished(account.durations, account.counts)
