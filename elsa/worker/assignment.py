"""The partitions that one group manager owns: starts and ends their workers, admits messages, counts.

Owned by the group manager's thread; it calls no Kafka client.
"""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

from elsa.worker.assigned import Assigned
from elsa.worker.partition import PartitionWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.message import TopicPartition
    from elsa.observer import GroupObserver, HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.budget import Budget
    from elsa.worker.executors import Executors
    from elsa.worker.settlement import Settlement

log = logging.getLogger("elsa.worker")

#: an epoch belongs to one start of one worker; no two of a process are alike
_EPOCHS = itertools.count(1)


class Assignment:
    """`owned` maps each partition to its state; a worker that is not in there any more is of an old epoch."""

    def __init__(
        self,
        app: App,
        group: str | None,
        *,
        executors: Executors,
        settlement: Settlement,
        budget: Budget,
        post: Callable[[Any], None],
        clock: Clock,
        observer: GroupObserver,
    ) -> None:
        self.owned: dict[TopicPartition, Assigned] = {}
        self._app = app
        self._group = group
        self._executors = executors
        self._settlement = settlement
        self._budget = budget
        self._post = post
        self._clock = clock
        self._observer = observer
        #: False while nothing more is to be taken
        self.admits = True
        #: False while nothing new is to run, because too much is finished and not committed
        self.flows = True
        #: what waits for room; who was let in goes to the end
        self._waiting: dict[TopicPartition, None] = {}
        self._observers: dict[tuple[str, str], HandlerObserver] = {}
        #: closed workers that still have something running
        self.ending: set[PartitionWorker] = set()

    def add(self, partition: TopicPartition, binding: Binding, *, base: int, committed: int) -> Assigned:
        """Take a partition in; its worker is started by `start`."""
        limit = binding.first.declared.max_in_flight or self._app.settings.max_in_flight
        assigned = Assigned(partition, binding, self._observer_of(binding), base=base, limit=limit)
        assigned.committed = committed
        self.owned[partition] = assigned
        return assigned

    def _observer_of(self, binding: Binding) -> HandlerObserver:
        key = (binding.topic, binding.name)
        if key not in self._observers:
            self._observers[key] = self._app.observer.handler(self._group, *key)
        return self._observers[key]

    def _make_worker(self, partition: TopicPartition, binding: Binding, **fields: Any) -> PartitionWorker:
        """The harness puts a worker here that writes down what becomes of each message."""
        return PartitionWorker(partition, binding, **fields)

    def start(self, assigned: Assigned, generation: int | None) -> None:
        """Give a partition a worker (the first, or a new one after a crash)."""
        assigned.worker = self._make_worker(
            assigned.partition,
            assigned.binding,
            app=self._app,
            epoch=next(_EPOCHS),
            generation=generation,
            executors=self._executors,
            settlement=self._settlement,
            observer=assigned.observer,
            post=self._post,
            clock=self._clock,
        )
        if not self.flows:
            assigned.worker.hold()

    def current(self, worker: PartitionWorker) -> Assigned | None:
        """The state a worker belongs to, or None (counted) when its epoch is over."""
        assigned = self.owned.get(worker.partition)
        if assigned is not None and assigned.worker is worker:
            return assigned
        self._observer.stale(1)
        return None

    def set_flow(self, flows: bool) -> None:  # noqa: FBT001 - the fact itself
        """Let lanes run, or hold them: their queued messages stay."""
        if flows == self.flows:
            return
        self.flows = flows
        for assigned in self.owned.values():
            if assigned.worker is not None:
                (assigned.worker.let_go if flows else assigned.worker.hold)()

    # -- messages in ---------------------------------------------------------------------------------

    def receive(self, assigned: Assigned, raws: list[Any]) -> None:
        """A slice of one partition came from Kafka."""
        size = sum(map(len, raws))
        assigned.observer.received(len(raws), size)
        assigned.receive(raws, size)
        if self.admits:
            self._admit(assigned)
        else:
            self._waiting[assigned.partition] = None

    def _admit(self, assigned: Assigned) -> int:
        count, size = assigned.admit(self._budget.room(), self._app.settings.max_bytes)
        if count:
            self._budget.take(count, size)
        if count or not assigned.overflow:
            self._waiting.pop(assigned.partition, None)
        if assigned.overflow:
            self._waiting[assigned.partition] = None
        return count

    def admit_waiting(self) -> int:
        """Hand over what waited for room; how many messages."""
        if not self.admits:
            return 0
        # longest waiting first: when the process's budget is the limit, every partition gets its turn
        partitions = list(self._waiting)
        return sum(self._admit(self.owned[p]) for p in partitions if p in self.owned)

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    # -- results -------------------------------------------------------------------------------------

    def finished(self, assigned: Assigned, offsets: list[int], *, acknowledges: bool = True) -> int:
        """Offsets are done; how many messages the base has passed by it."""
        before, passed = assigned.tracker.unfinished, assigned.tracker.passed
        size = assigned.finish(offsets, acknowledges=acknowledges)
        self._budget.give(before - assigned.tracker.unfinished, size)
        return assigned.tracker.passed - passed

    def held(self, assigned: Assigned, offsets: list[int]) -> None:
        """Offsets are neither done nor in hand."""
        before = assigned.tracker.unfinished
        size = assigned.hold(offsets)
        self._budget.give(before - assigned.tracker.unfinished, size)

    # -- ends ----------------------------------------------------------------------------------------

    def close(self, partitions: Iterable[TopicPartition]) -> None:
        """Start nothing new in these partitions; `ending` empties as their running calls return."""
        for partition in partitions:
            assigned = self.owned.get(partition)
            if assigned is None:
                continue
            worker = assigned.worker
            if worker is not None and not worker.closed:
                self.ending.add(worker)
                worker.close()

    def ended(self, worker: PartitionWorker) -> None:
        self.ending.discard(worker)

    def is_ended(self, partitions: Iterable[TopicPartition]) -> bool:
        """Whether nothing of these partitions runs any more."""
        workers = {assigned.worker for p in partitions if (assigned := self.owned.get(p)) is not None}
        return not (workers & self.ending)

    def cancel(self, partitions: Iterable[TopicPartition]) -> list[PartitionWorker]:
        """Interrupt what can be interrupted; the workers that were still running."""
        wanted = {assigned.worker for p in partitions if (assigned := self.owned.get(p)) is not None}
        running = [worker for worker in self.ending if worker in wanted]
        for worker in running:
            worker.cancel()
        return running

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions; later results of their workers are of an old epoch."""
        for partition in partitions:
            assigned = self.owned.pop(partition, None)
            self._waiting.pop(partition, None)
            if assigned is not None:
                self._budget.give(assigned.tracker.unfinished, assigned.bytes, handled=False)

    def restart(self, assigned: Assigned) -> int:
        """Drop everything in hand of a partition whose worker has failed; the offset to begin at again."""
        self._budget.give(assigned.tracker.unfinished, assigned.bytes, handled=False)
        self._waiting.pop(assigned.partition, None)
        assigned.restart()
        assigned.worker = None
        return assigned.tracker.base
