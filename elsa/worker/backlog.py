"""What of one partition waits to run, and what may start now: lanes, the handler's rate, batches that fill, retries.

Belongs to a partition worker. Whoever calls anything here holds that worker's lock, and runs no user code meanwhile.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from elsa.worker.filling import Filling
from elsa.worker.lanes import KeyedLanes, SingleLane
from elsa.worker.mailbox import Park
from elsa.worker.pace import Gate, Gates
from elsa.worker.turns import BatchTurn, LaneTurn, SliceSize, SliceTurn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.worker.equipment import Equipment
    from elsa.worker.executors import Executor
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn


class Backlog:
    """`lanes` says what waits for what; `begin` makes a turn of what may start."""

    def __init__(self, worker: PartitionWorker, equipment: Equipment) -> None:
        binding, declared = worker.binding, worker.binding.first.declared
        self._worker = worker
        self._binding = binding
        self._executors = equipment.executors
        self._paces = equipment.paces
        self._clock = equipment.clock
        #: the time (monotonic) for which the group manager was asked to call `unpark`
        self._armed: float | None = None
        #: where everything runs, unless the topic has tasks of several kinds
        self.executor = self._executors.of(binding.first)
        self._batch = worker.batch
        self._filling = None if self._batch is None else Filling(self._batch, declared.batch_wait, self._clock)
        #: how many messages a turn takes
        self.size = SliceSize()
        self._gates = self._make_gates()
        self.lanes = self._make_lanes(declared.ordering)

    def _make_lanes(self, ordering: str) -> SingleLane | KeyedLanes:
        is_mixed = len({self._executors.of(handler) for handler in self._binding.handlers()}) > 1
        executor_of = self._executor_of if is_mixed else lambda _: self.executor
        if ordering == "partition":
            return SingleLane(executor_of, is_mixed=is_mixed)
        return KeyedLanes(executor_of, by_key=ordering == "key")

    def _executor_of(self, raw: Any) -> Executor:
        """Where a message of a topic with tasks of several kinds runs; one that nobody wants: anywhere."""
        task = self._binding.task_of(raw)
        return self.executor if task is None else self._executors.of(task)

    def _make_gates(self) -> Gates:
        gates = {}
        for handler in self._binding.handlers():
            if (pace := self._paces.of(handler)) is not None:
                gates[self._executors.of(handler)] = Gate(pace, self._clock, self._batch or 1)
        return Gates(gates)

    def regulate(self) -> None:
        """Go by another rate: what was reserved by the old one does not count any more."""
        self._gates = self._make_gates()

    # -- what may start now ------------------------------------------------------------------------

    def ready(self) -> list[Executor]:
        """The executors that have something to run here and may."""
        return [one for one in self.lanes.executors() if not self._gates.is_shut(one)]

    def is_ready(self, executor: Executor) -> bool:
        """Whether one of them is this one."""
        return self.lanes.is_ready(executor) and not self._gates.is_shut(executor)

    @property
    def is_filling(self) -> bool:
        """Whether a batch has begun to wait for more, and need not be looked at yet."""
        return self._filling is not None and self._filling.holds(self.lanes.queued)

    def begin(self, executor: Executor) -> Turn | None:
        """A turn of what may start there now; None when nothing may (any more)."""
        if not self.lanes.is_ready(executor):
            return None
        if self._filling is not None and self._waits_for_batch(self._filling):
            return None
        vigil = self._worker.vigil
        is_alone = vigil.is_on
        if is_alone and not vigil.enter(executor):
            return None
        allowed = self.allow(executor, 1 if is_alone else self._batch or self.size.messages)
        if not allowed:
            vigil.leave()
            return None
        turn, raws = self._take(executor, allowed)
        self.give_back(executor, allowed - len(raws))
        vigil.begun(turn, raws, is_alone=is_alone, is_batch=self._batch is not None)
        return turn

    def _waits_for_batch(self, filling: Filling) -> bool:
        """Whether what is queued waits for more messages; it goes on by itself later."""
        if not filling.waits(self.lanes.queued, at_once=bool(self._worker.kept.alone)):
            return False
        assert filling.until is not None
        self.arm(filling.until)
        return True

    def _take(self, executor: Executor, most: int) -> tuple[Turn, Sequence[Any]]:
        """The turn with the next messages, and which those are; there are some."""
        worker, lanes, kept = self._worker, self.lanes, self._worker.kept
        if self._batch is not None:
            if isinstance(lanes, SingleLane):
                raws = lanes.take(executor, most, kept.alone)
            else:
                raws = lanes.take_batch(executor, most, kept.alone, kept.attempts)
            turn: Turn = BatchTurn(worker, executor, lanes, raws)
        elif isinstance(lanes, SingleLane):
            raws = lanes.take(executor, most)
            turn = SliceTurn(worker, executor, lanes, raws)
        else:
            raws = [lanes.next(executor)]
            return LaneTurn(worker, executor, lanes, raws[0]), raws
        turn.waits = self._waits(raws)
        return turn, raws

    def _waits(self, raws: Sequence[Any]) -> list[tuple[float, int]]:
        """How long these have waited for their first attempt."""
        kept = self._worker.kept
        if kept.attempts or kept.before is not None:
            raws = [raw for raw in raws if not kept.made(raw)]
        return self._worker.arrivals.waits(raws, time.perf_counter())

    def allow(self, executor: Executor, wanted: int) -> int:
        """How many messages may start now, by the handler's rate; none: it goes on by itself later."""
        count = self._gates.allow(executor, wanted)
        if count == 0 and (due := self._gates.due) is not None:
            self.arm(due)
        return count

    def give_back(self, executor: Executor, count: int = 1) -> None:
        """So many messages that might start have not: others may instead."""
        self._gates.give_back(executor, count)

    # -- what waits for a time ---------------------------------------------------------------------

    def arm(self, due: float) -> None:
        """Have `unpark` called then, unless that happens earlier anyway."""
        if self._armed is None or due < self._armed:
            self._armed = due
            self._worker.post(Park(self._worker, due))

    def unpark(self, now: float) -> bool:
        """Let go on what is due; False when an alarm comes that was overtaken by an earlier one."""
        if self._armed is None or now < self._armed:
            return False
        self._armed = None
        self._gates.open(now)
        came_again = self.lanes.unpark(now)
        if self._filling is not None:
            self._filling.end(now)
            if came_again:
                self._filling.skip()
        return True

    def rearm(self) -> float | None:
        """After `unpark`: when it is to be called again, None when nothing waits or an alarm is set for it."""
        if self._armed is None:
            filling = self._filling
            dues = [self.lanes.due, self._gates.due, filling.until if filling is not None else None]
            self._armed = min((due for due in dues if due is not None), default=None)
        return self._armed

    def hasten(self) -> None:
        """What waits for another attempt waits no longer."""
        self.lanes.unpark(math.inf)
