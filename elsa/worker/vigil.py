"""What one partition worker tells the journal and the caution of its process; called with the worker's lock held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.worker.caution import Caution
    from elsa.worker.executors import Executor
    from elsa.worker.lanes import Lanes
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn


class Vigil:
    """Of one partition worker. Standalone handlers have no commit that could count deaths: they note nothing."""

    def __init__(self, worker: PartitionWorker, caution: Caution) -> None:
        self._worker = worker
        self._caution = caution
        caution.join(worker)
        group, journal = worker.binding.group, caution.journal
        self._place = 0 if journal is None or group is None else journal.place(group, worker.partition)
        self._journal = journal if self._place else None
        #: of a partition that is one lane, whose turns come one after the other: kept from turn to turn
        self._is_single = worker.ordering == "partition" and worker.batch is None
        self._cell = 0

    @property
    def is_on(self) -> bool:
        """Whether one message at a time runs in this process."""
        return self._caution.is_on

    def enter(self, executor: Executor) -> bool:
        """Whether a turn of one message may begin; if not, the executor is told again when it may."""
        return self._caution.enter(self._worker, executor)

    def leave(self) -> None:
        """Nothing began after all."""
        self._caution.leave(self._worker)

    def begun(self, turn: Turn, raws: Sequence[Any], *, is_alone: bool, is_batch: bool) -> None:
        """A turn begins with these messages."""
        if is_alone:
            turn.suspects = tuple(raw.offset() for raw in raws)
        if self._journal is None:
            return
        if self._is_single:
            self._cell = turn.cell = self._cell or self._journal.enter(self._place)
            turn.words = self._journal.words if turn.cell else None
        else:
            first, last = (raws[0].offset(), raws[-1].offset()) if is_batch else (-1, -1)
            turn.cell = self._journal.enter(self._place, first, last)
            turn.words = self._journal.words if turn.cell and not is_batch else None

    def over(self, turn: Turn) -> None:
        """A turn has ended."""
        if turn.cell and self._journal is not None:
            if self._is_single:
                self._journal.words[turn.cell + 1] = -1
            else:
                self._journal.leave(turn.cell)
            if self._worker.closed:
                self._give_back()
        if self._caution.is_on or turn.suspects:
            self._caution.ran(self._worker, turn.suspects if turn.has_run else ())

    def look(self, lanes: Lanes) -> None:
        """Lanes have changed: suspects that wait for a time with theirs keep nobody waiting."""
        if self._caution.has_suspects:
            self._caution.rest(self._worker, lanes.waiting)

    def end(self) -> None:
        """Nothing of the worker will begin any more."""
        self._caution.forget(self._worker)
        if not self._worker.underway.turns:
            self._give_back()

    def _give_back(self) -> None:
        if self._cell and self._journal is not None:
            self._journal.leave(self._cell)
            self._cell = 0
