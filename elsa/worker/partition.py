"""One assigned partition of one handler: takes slices, gives out turns; made at assignment, ended at revoke.

What waits is in its `backlog`, what runs is `underway`, what follows from outcomes is its `conclusion`.

Threads. The group manager's thread makes it, `put`s slices, `unpark`s, harvests and `close`s it. Executors run
it (`begin`, then `settle`), as many turns at once as there are lanes ready and places free; a single lane has one
at a time. Deliveries of sends and copies end on the producer's thread, `ack` may come from any. All of them change
its parts under `lock`, held for moments and never while user code runs; everything for the group manager goes
through `post`, its mailbox.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import TYPE_CHECKING, Any

from elsa.kafka.consumer import to_message
from elsa.outcome import Kind, Outcome
from elsa.policies import retried
from elsa.worker import batches, delivery
from elsa.worker.backlog import Backlog
from elsa.worker.conclusion import Conclusion
from elsa.worker.deferrals import Deferrals
from elsa.worker.equipment import Inheritance
from elsa.worker.kept import Kept
from elsa.worker.lifecycle import Lifecycle
from elsa.worker.mailbox import Crashed, Ended, Finished, Halted
from elsa.worker.prejudged import Prejudged
from elsa.worker.turns import BatchTurn, LifecycleTurn, Turn
from elsa.worker.underway import Underway
from elsa.worker.vigil import Vigil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from elsa.context import Context
    from elsa.handlers import Handler
    from elsa.message import Message, TopicPartition
    from elsa.observer import HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.equipment import Equipment
    from elsa.worker.executors import Executor
    from elsa.worker.settlement import Settlement

log = logging.getLogger("elsa.worker")

_SUCCESSES = (Kind.DONE, Kind.CONTINUED)


class PartitionWorker:
    """Runs the messages of one assignment (epoch) of one partition, in the order that its handler asks for.

    `closed` and `held` are read by running turns before each message; `closed` once set never returns. What was
    committed before it ran (`delivery="at_most_once"`) has to run: such a worker is first `is_stopping`, and closes
    when it has nothing left.
    """

    def __init__(
        self,
        partition: TopicPartition,
        binding: Binding,
        equipment: Equipment,
        *,
        epoch: int,
        generation: int | None,
        observer: HandlerObserver,
        source: str | None = None,
        inherited: Inheritance | None = None,
        task_observers: Mapping[str, HandlerObserver] | None = None,
    ) -> None:
        declared, inherited = binding.first.declared, inherited or Inheritance()
        self.partition = partition
        self.binding = binding
        #: the topic that the messages came from: another one when they come back through a retry topic
        self.source = source or partition.topic
        #: whether they do
        self.is_retry = self.source != partition.topic
        self.epoch = epoch
        self.generation = generation
        self.observer = observer
        self._task_observers = task_observers or {}
        self.app, self.clock, self.post = equipment.app, equipment.clock, equipment.post
        self._settlement = equipment.settlement
        self.ordering = declared.ordering
        self.batch = declared.batch if binding.handler is not None else None
        #: whether what its calls send, and its offsets, go by transactions
        self.is_transactional = declared.transactional
        self.to_message = self._message_maker()
        self.lock = threading.Lock()
        self.closed = False
        self._runs_out = declared.delivery == "at_most_once"
        #: is to close, and runs what it has
        self._is_closing = False
        #: True while nothing new may run: too much is finished and not committed, or an operator has paused it
        self.held = False
        self.kept = Kept(inherited, before=retried.attempts if self.is_retry else None)
        self.arrivals = inherited.arrivals
        #: which messages were handled before, where the handler asks for that
        self.seen = inherited.seen
        if self.seen is not None:
            self.seen.restart()
        self.deferrals = self._make_deferrals()
        self.conclusion = self._make_conclusion(equipment.settlement)
        is_prejudged = bool(inherited.poison or inherited.refused)
        self._prejudged = Prejudged(self, inherited) if is_prejudged else None
        # before the vigil: from then on others ask what is under way here
        self.underway = Underway(self)
        self.vigil = Vigil(self, equipment.caution)
        self.backlog = Backlog(self, equipment)
        self._lifecycle = Lifecycle(self, is_class=binding.handler is not None and binding.handler.is_class)
        self.router: delivery.Router
        # of a class this one only knows names and policies: `setup` makes another
        self.make_router()

    def _message_maker(self) -> Callable[[Any], Message]:
        make = functools.partial(to_message, generation=self.generation)
        return (lambda raw: retried.as_origin(make(raw))) if self.is_retry else make

    # -- what contexts ask -------------------------------------------------------------------------

    def handler_of(self, raws: Sequence[Any]) -> str:
        """Whose messages these are; without any: everybody's on this topic."""
        return self.binding.name_for(raws[0]) if raws else self.binding.name

    @property
    def group(self) -> str | None:
        return self.binding.group

    @property
    def is_stopping(self) -> bool:
        return self.closed or self._is_closing

    @property
    def is_last_chance(self) -> bool:
        """Whether nobody will try again what fails now: it is committed, and the partition goes."""
        return self._runs_out and self._is_closing

    def ack(self, messages: Sequence[Message]) -> None:
        """Finish deferred messages; from any thread."""
        self.deferrals.ack(messages)

    @property
    def progress(self) -> dict[int, Any]:
        return self.kept.progress

    def heartbeat(self, offsets: Sequence[int], progress: Any) -> None:
        """A call tells how far it is; from any thread. Of messages that are over nothing is kept."""
        with self.lock:
            for offset in offsets:
                if self.underway.is_running(offset):
                    self.kept.progress[offset] = progress

    # -- the group manager's side ------------------------------------------------------------------

    def put(self, raws: Sequence[Any]) -> None:
        """Append a slice to the lanes."""
        if self._prejudged is not None:
            raws = self._prejudged.sift(raws)
        with self.lock:
            if self.is_stopping:
                return
            self.backlog.lanes.put(raws)
            self.vigil.look(self.backlog.lanes)
            self._schedule()

    def hold(self) -> None:
        """Run nothing new until `let_go`; what is queued stays."""
        self.held = True

    def let_go(self) -> None:
        """Go on after `hold`."""
        with self.lock:
            self.held = False
            self._schedule()

    def regulate(self) -> None:
        """Go by another rate: what was reserved by the old one does not count any more."""
        with self.lock:
            self.backlog.regulate()
            self._schedule()

    def unpark(self, now: float) -> float | None:
        """Run what is due; when to come again, None when nothing waits or a timer for it exists."""
        with self.lock:
            if not self.backlog.unpark(now):
                return None
            self.vigil.look(self.backlog.lanes)
            self._schedule()
            return self.backlog.rearm()

    def close(self) -> None:
        """Start nothing new, drop what is queued, and post Ended when the running calls have returned."""
        with self.lock:
            if self.closed or self._is_closing:
                return
            self._is_closing = True
            if self._runs_out:
                # nobody else will run it: retries do not wait any longer, nor does what an operator has paused
                self.held = False
                self.backlog.hasten()
                self.vigil.look(self.backlog.lanes)
                self._schedule()
            else:
                self._close()
            waits_for_copies = self.conclusion.unsettled > 0
            listeners = [turn.on_close for turn in self.underway.turns if turn.on_close is not None]
            self.end_if_idle()
        for tell in listeners:
            tell()
        if waits_for_copies:
            self._settlement.hurry(self)

    def _close(self) -> None:
        """Start nothing new, and drop what is queued (lock held)."""
        self.closed = True
        self.vigil.end()
        self.backlog.lanes.clear()
        self.deferrals.clear()
        if self._lifecycle.needs_teardown and not self.underway.turns:
            # teardown is user code: it runs where the handler ran
            self.backlog.executor.submit(self)

    def cancel(self) -> None:
        """The deadline has passed: interrupt what can be interrupted (calls on the event loop, child processes)."""
        with self.lock:
            if not self.closed:
                self._close()
            cancels = [turn.cancel for turn in self.underway.turns]
        for cancel in cancels:
            if cancel is not None:
                cancel()

    @property
    def parked(self) -> int:
        """How many messages wait for another attempt; may be read by any thread."""
        return self.backlog.lanes.parked

    # -- the executors' side -----------------------------------------------------------------------

    def _schedule(self) -> None:
        """Tell the executors that have something to run here (lock held)."""
        if not self.flows or self._lifecycle.is_under_way:
            return
        if self.batch is not None and self.backlog.is_filling:
            return
        if not self._lifecycle.is_ready:
            if self.backlog.lanes.queued:
                self.backlog.executor.submit(self)
            return
        for executor in self.backlog.ready():
            executor.submit(self)

    @property
    def flows(self) -> bool:
        """Whether a turn may go on to the next message."""
        return not self.held and not self.closed

    def begin(self, executor: Executor) -> Turn | None:
        """What this executor is to run now; None when there is nothing (any more)."""
        with self.lock:
            step = self._lifecycle.next(closed=self.closed, busy=bool(self.underway.turns))
            if step is not None:
                turn: Turn | None = LifecycleTurn(self, executor, step)
            elif self._lifecycle.is_ready and not self.held and not self.closed:
                turn = self.backlog.begin(executor)
            else:
                turn = None
            if turn is not None:
                self.underway.turns.add(turn)
                turn.thread = threading.get_ident()
            return turn

    def is_ready(self, executor: Executor) -> bool:
        """Whether one more turn could begin now."""
        with self.lock:
            return self._lifecycle.is_ready and self.flows and self.backlog.is_ready(executor)

    def observer_of(self, handler: str) -> HandlerObserver:
        """Who hears what the messages of a handler come to; tasks that share the topic have one each."""
        return self._task_observers.get(handler, self.observer)

    def make_router(self) -> None:
        """Make what finds the function of each message; a class handler has its instance by now."""
        self.router = delivery.Router(self.binding, self._make_invoker)

    # the harness makes parts that write down what becomes of each message

    def _make_invoker(self, handler: Handler[Any, Any]) -> delivery.Invoker:
        return delivery.Invoker(handler, self._lifecycle.instance, self.observer_of(handler.name), self.clock)

    def _make_deferrals(self) -> Deferrals:
        return Deferrals(self)

    def _make_conclusion(self, settlement: Settlement) -> Conclusion:
        return Conclusion(self, settlement)

    async def run(self, turn: Turn) -> None:
        """Run a turn: awaited on the event loop, driven to its end in one go by a thread."""
        if isinstance(turn, LifecycleTurn):
            await delivery.call_step(turn.step)
            return
        size = turn.size
        turn.observer.started(size)
        try:
            await (batches.run(self, turn) if isinstance(turn, BatchTurn) else delivery.run(self, turn))
        finally:
            # another one's, where tasks share the topic
            turn.observer.ended(size)

    def conclude(self, turn: Turn, raw: Any, context: Context, outcome: Outcome) -> None:
        """Take over what one message came to, when it is more than being done; on the runner's thread."""
        if outcome.kind not in _SUCCESSES:
            turn.unfine.add(raw.offset())
        if context.held is not None:
            if outcome.is_fine:
                self.conclusion.produced(turn, [raw], context, outcome)
                return
            context.held.drop(outcome.error)
        if outcome.kind is Kind.DONE and context.sends is None and self.seen is None:
            turn.done.append(raw.offset())
            return
        outcome = self.conclusion.final(outcome)
        turn.counts[outcome.kind.value] = turn.counts.get(outcome.kind.value, 0) + 1
        self.conclusion.conclude(turn, raw, context, outcome)

    def forget(self, offsets: Sequence[int]) -> None:
        """Messages are over: nothing is kept of them (lock held, or nobody else knows them any more)."""
        self.kept.forget(offsets)
        if self.seen is not None:
            self.seen.release(offsets)

    def crashed(self, error: BaseException, turn: Turn | None = None) -> None:
        """The executor or a `setup` failed: ask the group manager for a new worker at the last unfinished offset."""
        with self.lock:
            if turn is not None:
                turn.is_over = True
            self._lifecycle.failed()
            if self.closed:
                what = "teardown or setup" if isinstance(turn, LifecycleTurn) else "a call"
                text = "%s failed while its partition was ending"
                log.error(text, what, exc_info=error, extra={"partition": str(self.partition)})
                return
            current = turn.current if turn is not None else None
            done = self._break_off(turn)
        self._ask_for_another(done, Crashed(self, error, None if current is None else current.offset()), turn)

    def halt(self, raw: Any, outcome: Outcome, turn: Turn | None = None) -> None:
        """A message has failed for the last time and nothing may pass it: ask the group manager for a halt there."""
        assert outcome.error is not None
        with self.lock:
            if turn is not None:
                turn.is_over = True
            if self.closed:
                # it comes again: its last attempt is made anew
                return
            # when the operator lets it go on, it has all its attempts
            self.kept.forget([raw.offset()])
            done = self._break_off(turn)
        self._ask_for_another(done, Halted(self, outcome.error, raw.offset()), turn)

    def _break_off(self, turn: Turn | None) -> list[int]:
        """Run nothing more, for nothing may pass what has just run; what this turn has finished (lock held)."""
        self.closed = True
        self.vigil.end()
        self.backlog.lanes.clear()
        self.deferrals.clear()
        return self.underway.reap(turn) if turn is not None else []

    def _ask_for_another(self, done: Sequence[int], news: Crashed | Halted, turn: Turn | None) -> None:
        if done:
            # before that is reported: what is done must not run again
            self.post(Finished(self, done))
        self.post(news)
        if turn is None:
            self._report_end()

    def settle(self, turn: Turn) -> bool:
        """Take over what a turn came to; True when its executor should come again."""
        with self.lock:
            done = self.underway.reap(turn)
            self.underway.turns.discard(turn)
            turn.current = None
            self.vigil.over(turn)
            if isinstance(turn, LifecycleTurn) and not self.closed:
                self._lifecycle.settled()
            elif not self.closed:
                due = turn.give_back()
                if due is not None:
                    self.backlog.arm(due)
                self.vigil.look(self.backlog.lanes)
            self.backlog.size.learn(turn.durations)
            again = self._goes_on(turn.executor)
            is_hungry = self.backlog.lanes.queued == 0
        if done:
            self.post(Finished(self, done, is_urgent=is_hungry or self.closed))
        self.underway.tell(turn)
        self._report_end()
        return again

    def _goes_on(self, executor: Executor) -> bool:
        """Whether this executor has more to do here (lock held); others are told."""
        if self.closed:
            return self._lifecycle.needs_teardown and not self.underway.turns
        if not self.flows or not self._lifecycle.is_ready:
            return False
        ready = self.backlog.ready()
        for other in ready:
            if other is not executor:
                other.submit(self)
        return executor in ready

    def _report_end(self) -> None:
        if self.is_stopping:
            with self.lock:
                self.end_if_idle()

    @property
    def _has_run_out(self) -> bool:
        lanes = self.backlog.lanes
        return not (lanes.queued or lanes.parked or self.underway.turns or self.conclusion.unsettled)

    def end_if_idle(self) -> None:
        """Tell the group manager that a closed worker has nothing left to wait for (lock held)."""
        if self._is_closing and not self.closed and self._has_run_out:
            self._close()
        if not self.closed or self.underway.turns or self.conclusion.unsettled > 0:
            return
        if not self._lifecycle.needs_teardown:
            self.post(Ended(self))
