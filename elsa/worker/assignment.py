"""The partitions that one group manager owns: starts and ends their workers, admits messages, counts.

Owned by the group manager's thread; it calls no Kafka client.
"""

from __future__ import annotations

import functools
import itertools
import logging
from typing import TYPE_CHECKING, Any

from elsa.worker import backpressure
from elsa.worker.assigned import Assigned
from elsa.worker.equipment import Equipment
from elsa.worker.partition import PartitionWorker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from elsa.handlers import Handler
    from elsa.message import TopicPartition
    from elsa.observer import GroupObserver, HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.routes import Routes
    from elsa.worker.starts import Begin
    from elsa.worker.surroundings import Surroundings

log = logging.getLogger("elsa.worker")

#: how many partitions that wait for room are asked in one turn
_AT_ONCE = 32
#: an epoch belongs to one start of one worker; no two of a process are alike
_EPOCHS = itertools.count(1)


class Assignment:
    """`owned` maps each partition to its state; a worker that is not in there any more is of an old epoch."""

    def __init__(
        self,
        around: Surroundings,
        group: str | None,
        *,
        post: Callable[[Any], None],
        observer: GroupObserver,
    ) -> None:
        self.owned: dict[TopicPartition, Assigned] = {}
        #: those of them that have to be looked after: something is in hand, paused or not committed
        self.busy: dict[TopicPartition, Assigned] = {}
        self._equipment = Equipment(
            around.app, around.executors, around.settlement, post, around.clock, around.paces, around.caution
        )
        self._paces = around.paces
        self._app = around.app
        self._budget = around.budget
        self.caution = around.caution
        self._group = group
        self._observer = observer
        #: False while nothing more is to be taken
        self.admits = True
        #: False while nothing new is to run, because too much is finished and not committed
        self.flows = True
        #: of what runs at most once: what has to be committed before it runs
        self.taken: dict[TopicPartition, Assigned] = {}
        #: what waits for room; who was let in goes to the end
        self._waiting: dict[TopicPartition, None] = {}
        self._observers: dict[tuple[str, str], tuple[HandlerObserver, Mapping[str, HandlerObserver]]] = {}
        #: closed workers that still have something running
        self.ending: set[PartitionWorker] = set()

    def add(self, partition: TopicPartition, binding: Binding, begin: Begin, *, source: str | None = None) -> Assigned:
        """Take a partition in; its worker is started by `start`.

        `source` is the topic that its messages came from: another one when they come back through a retry topic.
        """
        limit = binding.first.declared.max_in_flight or self._app.settings.max_in_flight
        assigned = Assigned(
            partition,
            binding,
            *self._observers_of(binding),
            source=source or partition.topic,
            base=max(begin.offset, -1),
            limit=limit,
            restored=begin.restored,
            commits_first=binding.first.declared.delivery == "at_most_once",
            is_transactional=binding.first.declared.transactional,
        )
        assigned.committed = begin.committed
        self.owned[partition] = assigned
        self._budget.share(1)
        return assigned

    def _observers_of(self, binding: Binding) -> tuple[HandlerObserver, Mapping[str, HandlerObserver]]:
        """Who hears of a binding, and of each of its tasks by name: the same ones for all of its partitions."""
        key = (binding.topic, binding.name)
        if key not in self._observers:
            make = functools.partial(self._app.observer.handler, self._group, binding.topic)
            self._observers[key] = make(binding.name), {name: make(name) for name in binding.tasks}
        return self._observers[key]

    def _make_worker(self, *args: Any, **fields: Any) -> PartitionWorker:
        """The harness puts a worker here that writes down what becomes of each message."""
        return PartitionWorker(*args, **fields)

    def start(self, assigned: Assigned, generation: int | None) -> None:
        """Give a partition a worker (the first, or a new one after a crash)."""
        assigned.worker = self._make_worker(
            assigned.partition,
            assigned.binding,
            self._equipment,
            source=assigned.source,
            epoch=next(_EPOCHS),
            generation=generation,
            observer=assigned.observer,
            task_observers=assigned.task_observers,
            inherited=assigned.bequeath(),
        )
        if not self.flows or assigned.is_paused:
            assigned.worker.hold()

    def pass_suspects(self) -> None:
        """Suspects that are over, or that the log does not have any more, keep nobody waiting."""
        for assigned in self.owned.values():
            if assigned.worker is not None:
                self.caution.passed(assigned.worker, assigned.tracker.base)

    def share_rates(self, bindings: Sequence[Binding], routes: Routes, topics: Mapping[str, int]) -> None:
        """Tell every pace which part of its topics' partitions is here; `topics` has all the counts."""
        for binding in bindings:
            paces = [pace for handler in binding.handlers() if (pace := self._paces.of(handler)) is not None]
            if not paces:
                continue
            # also of a binding that has nothing here: its share is part of the handler's
            here = sum(assigned.binding is binding for assigned in self.owned.values())
            wanted = binding.first.declared.partitions
            everywhere = sum(
                count if wanted is None else sum(number < count for number in wanted)
                for topic, count in topics.items()
                if routes.binding(topic) is binding
            )
            for pace in paces:
                pace.share(binding.topic, here, everywhere)

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
            if assigned.worker is not None and not assigned.is_paused:
                (assigned.worker.let_go if flows else assigned.worker.hold)()

    def pause(self, assigned: Assigned) -> None:
        """Begin nothing in this partition, also when its worker is started anew; what runs goes on."""
        assigned.is_paused = True
        self.busy[assigned.partition] = assigned
        self._waiting.pop(assigned.partition, None)
        if assigned.worker is not None:
            assigned.worker.hold()
            self.caution.set_aside(assigned.worker)

    def resume(self, assigned: Assigned) -> None:
        """Go on after `pause`."""
        assigned.is_paused = False
        if assigned.overflow:
            self._waiting[assigned.partition] = None
        if assigned.worker is not None:
            self.caution.take_back(assigned.worker)
            if self.flows:
                assigned.worker.let_go()

    def regulate(self, handler: Handler[Any, Any]) -> None:
        """Have the workers of a handler go by its rate as it is now."""
        for assigned in self.owned.values():
            if assigned.worker is not None and handler in assigned.binding.handlers():
                assigned.worker.regulate()

    # -- messages in ---------------------------------------------------------------------------------

    def receive(self, assigned: Assigned, raws: list[Any]) -> None:
        """A slice of one partition came from Kafka."""
        size = sum(map(len, raws))
        assigned.observer.received(len(raws), size)
        assigned.receive(raws, size)
        self.busy[assigned.partition] = assigned
        self._budget.buffer(len(raws), size)
        if self.admits or assigned.is_paused:
            self.admit(assigned)
        else:
            self._waiting[assigned.partition] = None

    def admit(self, assigned: Assigned) -> int:
        """Hand over what there is room for; how many messages."""
        messages, octets = len(assigned.overflow), assigned.overflow_bytes
        room = self._budget.room(assigned.in_flight, assigned.bytes)
        count, size = assigned.admit(room, self._app.settings.max_bytes)
        if count:
            self._budget.take(count, size)
        moved = messages - len(assigned.overflow)
        if moved and assigned.commits_first:
            self.taken[assigned.partition] = assigned
        if moved:
            self._budget.buffer(-moved, assigned.overflow_bytes - octets)
        if moved or not assigned.overflow:
            # who was let in goes to the end
            self._waiting.pop(assigned.partition, None)
        if assigned.overflow and not assigned.is_paused:
            self._waiting[assigned.partition] = None
        return count

    def admit_waiting(self) -> int:
        """Hand over what waited for room, of some partitions a time; how many messages."""
        if not self.admits:
            return 0
        # longest waiting first: when the process's budget is the limit, every partition gets its turn
        count = 0
        for partition in self.waiting():
            assigned = self.owned[partition]
            if not (admitted := self.admit(assigned)) and partition in self._waiting:
                # who gets nothing must not keep those behind it from being asked
                self._waiting[partition] = self._waiting.pop(partition)
            count += admitted
        return count

    def wants_pause(self, assigned: Assigned) -> bool:
        """Whether a partition is to receive no more for a while."""
        return backpressure.wants_pause(assigned, is_flooded=self._budget.is_flooded)

    def wants_resume(self, assigned: Assigned, now: float) -> bool:
        """Whether a paused partition is to receive again."""
        return backpressure.wants_resume(assigned, now, is_flooded=self._budget.is_flooded)

    def balance(self) -> list[Assigned]:
        """Let retries that wait make room for others; the partitions of which attempts have failed since."""
        found = []
        for assigned in self.busy.values():
            worker = assigned.worker
            if worker is None:
                continue
            if (parked := min(worker.parked, assigned.tracker.unfinished)) != assigned.parked:
                self._budget.set_aside(parked - assigned.parked)
                assigned.parked = parked
            if worker.kept.failures != assigned.failures:
                assigned.failures = worker.kept.failures
                found.append(assigned)
        return found

    def let_rest(self) -> None:
        """Look no more after partitions of which nothing is in hand, until something comes."""
        for assigned in [one for one in self.busy.values() if one.is_at_rest]:
            del self.busy[assigned.partition]

    def waiting(self) -> list[TopicPartition]:
        """Those partitions that are asked next by `admit_waiting`."""
        return [partition for partition in itertools.islice(self._waiting, _AT_ONCE) if partition in self.owned]

    @property
    def is_waiting(self) -> bool:
        return bool(self._waiting)

    # -- results -------------------------------------------------------------------------------------

    def finished(self, assigned: Assigned, offsets: Sequence[int], *, acknowledges: bool = True) -> int:
        """Offsets are done; how many messages that finishes, held ones included."""
        finished = assigned.tracker.finished
        self._budget.give(*assigned.finish(offsets, acknowledges=acknowledges))
        return assigned.tracker.finished - finished

    def held(self, assigned: Assigned, offsets: Sequence[int]) -> None:
        """Offsets are neither done nor in hand."""
        self._budget.give(*assigned.hold(offsets))

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

    def running(self, partitions: Iterable[TopicPartition]) -> list[PartitionWorker]:
        """The closed workers of these partitions that still have something running."""
        wanted = {assigned.worker for p in partitions if (assigned := self.owned.get(p)) is not None}
        return [worker for worker in self.ending if worker in wanted]

    def cancel(self, partitions: Iterable[TopicPartition]) -> None:
        """Interrupt what can be interrupted."""
        for worker in self.running(partitions):
            worker.cancel()

    def remove(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions; later results of their workers are of an old epoch."""
        for partition in partitions:
            assigned = self.owned.pop(partition, None)
            self.busy.pop(partition, None)
            if assigned is not None:
                self._budget.share(-1)
                self._drop(assigned)

    def restart(self, assigned: Assigned) -> int:
        """Drop everything in hand of a partition whose worker has failed; the offset to begin at again."""
        self._drop(assigned)
        assigned.restart()
        assigned.worker = None
        return assigned.tracker.base

    def rebase(self, assigned: Assigned, base: int) -> None:
        """Drop everything in hand: the log goes on at another offset."""
        self.close([assigned.partition])
        self.restart(assigned)
        assigned.rebase(base)

    def _drop(self, assigned: Assigned) -> None:
        """Give back what a partition has of the budget."""
        self._waiting.pop(assigned.partition, None)
        self.taken.pop(assigned.partition, None)
        self._budget.give(assigned.tracker.unfinished, assigned.bytes, handled=False)
        self._budget.set_aside(-assigned.parked)
        self._budget.buffer(-len(assigned.overflow), -assigned.overflow_bytes)
