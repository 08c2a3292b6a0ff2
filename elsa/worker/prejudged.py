"""Messages that need no call, since it is known what they come to: poison, and what a transaction was refused for.

A partition worker that inherits any has one `Prejudged`; it is asked by the group manager's thread, slice by slice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from elsa.context import Context
from elsa.worker import delivery, traced

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.worker.equipment import Inheritance
    from elsa.worker.partition import PartitionWorker


class Prejudged:
    """Of one partition worker, until they have come."""

    def __init__(self, worker: PartitionWorker, inherited: Inheritance) -> None:
        self._worker = worker
        self._poison = set(inherited.poison)
        self._refused = dict(inherited.refused)

    def sift(self, raws: Sequence[Any]) -> Sequence[Any]:
        """Conclude those of a slice that are not to run; the others."""
        if self._poison:
            raws = self._without_poison(raws)
        if self._refused:
            raws = self._without_refused(raws)
        return raws

    def _without_poison(self, raws: Sequence[Any]) -> list[Any]:
        """What has killed its process too often is given up unseen."""
        worker, left = self._worker, []
        for raw in raws:
            if raw.offset() not in self._poison:
                left.append(raw)
                continue
            self._poison.discard(raw.offset())
            outcome = delivery.poison(raw, worker.binding.task_of(raw) or worker.binding.first)
            context = Context(worker, (raw,), worker.to_message, outcome.attempt)
            observer = worker.observer_of(worker.binding.name_for(raw))
            outcome = traced.unrun(observer, context, outcome)
            observer.finished([], {outcome.kind.value: 1})
            worker.conclusion.give_up(raw, outcome)
        return left

    def _without_refused(self, raws: Sequence[Any]) -> list[Any]:
        """What was refused to a transaction has failed: its policy says what comes next."""
        worker, left = self._worker, []
        for raw in raws:
            found = self._refused.pop(raw.offset(), None)
            if found is None or worker.conclusion.refused(raw, found):
                left.append(raw)
        return left
