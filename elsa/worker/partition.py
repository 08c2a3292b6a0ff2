"""One assigned partition of one handler: its lanes, attempts, state object; made at assignment, ended at revoke.

Threads. The group manager's thread makes it, `put`s slices, `unpark`s, `harvest`s and `close`s it. Executors run
it (`begin`, then `settle`), as many turns at once as there are lanes ready and places free; a single lane has one
at a time. Deliveries of sends and copies end on the producer's thread, `ack` may come from any. All of them change
the lanes under `lock`, held for moments and never while user code runs; everything for the group manager goes
through `post`, its mailbox.
"""

from __future__ import annotations

import functools
import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any

from elsa.context import Context
from elsa.kafka.consumer import to_message
from elsa.outcome import Kind, Outcome
from elsa.policies import retried
from elsa.policies.breaker import Breaker
from elsa.worker import batches, delivery, traced
from elsa.worker.arrivals import Arrivals
from elsa.worker.caution import Caution
from elsa.worker.conclusion import Conclusion
from elsa.worker.deferrals import Deferrals
from elsa.worker.filling import Filling
from elsa.worker.kept import Kept
from elsa.worker.lanes import KeyedLanes, SingleLane
from elsa.worker.lifecycle import Lifecycle
from elsa.worker.mailbox import Crashed, Ended, Finished, Halted, Park, Produced
from elsa.worker.pace import Gate, Gates
from elsa.worker.turns import BatchTurn, LaneTurn, LifecycleTurn, SliceSize, SliceTurn, Turn
from elsa.worker.vigil import Vigil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.handlers import Handler
    from elsa.message import Message, TopicPartition
    from elsa.observer import HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.executors import Executor, Executors
    from elsa.worker.pace import Paces
    from elsa.worker.seen import Seen
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
        *,
        app: App,
        epoch: int,
        generation: int | None,
        executors: Executors,
        settlement: Settlement,
        observer: HandlerObserver,
        post: Callable[[Any], None],
        clock: Clock,
        paces: Paces,
        attempts: Mapping[int, int] | None = None,
        source: str | None = None,
        poison: Iterable[int] = (),
        caution: Caution | None = None,
        seen: Seen | None = None,
        refused: Mapping[int, tuple[BaseException, int]] | None = None,
        arrivals: Arrivals | None = None,
    ) -> None:
        self.partition = partition
        self.binding = binding
        #: the topic that the messages came from: another one when they come back through a retry topic
        self.source = source or partition.topic
        self.app = app
        self.epoch = epoch
        self.generation = generation
        self.observer = observer
        self.lock = threading.Lock()
        self.closed = False
        self._runs_out = binding.first.declared.delivery == "at_most_once"
        #: is to close, and runs what it has
        self._is_closing = False
        #: True while nothing new may run: too much is finished and not committed, or an operator has paused it
        self.held = False
        #: whether its messages come back through a retry topic
        self.is_retry = self.source != partition.topic
        self.kept = Kept(attempts, before=retried.attempts if self.is_retry else None)
        declared = binding.first.declared
        self.ordering = declared.ordering
        #: what stops the partition when nearly everything fails; only what fails comes back through a retry topic
        ratio = None if self.is_retry else declared.max_dead_ratio
        self.breaker = None if ratio is None else Breaker(ratio)
        self.batch = declared.batch if binding.handler is not None else None
        self.to_message = self._message_maker()
        self.post = post
        self.router: delivery.Router
        self.clock = clock
        self.deferrals = self._make_deferrals()
        self._conclusion = self._make_conclusion(settlement)
        self._executors = executors
        self._settlement = settlement
        self._executor = executors.of(binding.first)
        self._is_mixed = len({executors.of(handler) for handler in binding.handlers()}) > 1
        executor_of = self._executor_of if self._is_mixed else lambda _: self._executor
        self._lanes: SingleLane | KeyedLanes
        if self.ordering == "partition":
            self._lanes = SingleLane(executor_of, is_mixed=self._is_mixed)
        else:
            self._lanes = KeyedLanes(executor_of, by_key=self.ordering == "key")
        self._turns: set[Turn] = set()
        self._poison = set(poison)
        #: whether what its calls send, and its offsets, go by transactions
        self.is_transactional = binding.first.declared.transactional
        #: why the transaction of these offsets was refused: that was an attempt
        self._refused = dict(refused or {})
        self.arrivals = arrivals or Arrivals()
        #: which messages were handled before, where the handler asks for that
        self.seen = seen
        if seen is not None:
            seen.restart()
        self._vigil = Vigil(self, caution or Caution())
        self._size = SliceSize()
        self._filling = Filling(self.batch, declared.batch_wait, clock) if self.batch is not None else None
        self._paces = paces
        self._gates = self._make_gates()
        #: the time for which the group manager was asked to call `unpark`
        self._armed: float | None = None
        self._lifecycle = Lifecycle(self, is_class=binding.handler is not None and binding.handler.is_class)
        # of a class this one only knows names and policies: `setup` makes another
        self.make_router()

    def _make_gates(self) -> Gates:
        gates = {}
        for handler in self.binding.handlers():
            if (pace := self._paces.of(handler)) is not None:
                gates[self._executors.of(handler)] = Gate(pace, self.clock, self.batch or 1)
        return Gates(gates)

    def _message_maker(self) -> Callable[[Any], Message]:
        make = functools.partial(to_message, generation=self.generation)
        return (lambda raw: retried.as_origin(make(raw))) if self.is_retry else make

    # -- what contexts ask -------------------------------------------------------------------------

    @property
    def handler_name(self) -> str:
        return self.binding.name

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
                if self.is_running(offset):
                    self.kept.progress[offset] = progress

    def running(self) -> list[Turn]:
        """What runs now, for reports; may be asked by any thread."""
        with self.lock:
            return [turn for turn in self._turns if turn.current is not None]

    def is_running(self, offset: int) -> bool:
        """Whether the call of a message has not returned yet (lock held)."""
        return any(raw.offset() == offset for turn in self._turns for raw in turn.running())

    # -- the group manager's side ------------------------------------------------------------------

    def put(self, raws: Sequence[Any]) -> None:
        """Append a slice to the lanes."""
        if self._poison:
            raws = self._without_poison(raws)
        if self._refused:
            raws = self._without_refused(raws)
        with self.lock:
            if self.is_stopping:
                return
            self._lanes.put(raws)
            self._vigil.look(self._lanes)
            self._schedule()

    def _without_poison(self, raws: Sequence[Any]) -> list[Any]:
        """What has killed its process too often is given up unseen."""
        left = []
        for raw in raws:
            if raw.offset() not in self._poison:
                left.append(raw)
                continue
            self._poison.discard(raw.offset())
            outcome = delivery.poison(raw, self.binding.task_of(raw) or self.binding.first)
            outcome = traced.unrun(self.observer, Context(self, (raw,), self.to_message, outcome.attempt), outcome)
            self.observer.finished([], {outcome.kind.value: 1})
            self._conclusion.give_up(raw, outcome)
        return left

    def _without_refused(self, raws: Sequence[Any]) -> list[Any]:
        """What was refused to a transaction has failed: its policy says what comes next."""
        left = []
        for raw in raws:
            found = self._refused.pop(raw.offset(), None)
            if found is None or self._conclusion.refused(raw, found[0], max(self.kept.made(raw) + 1, found[1])):
                left.append(raw)
        return left

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
            self._gates = self._make_gates()
            self._schedule()

    def unpark(self, now: float) -> float | None:
        """Run what is due; when to come again, None when nothing waits or a timer for it exists."""
        with self.lock:
            if self._armed is None or now < self._armed:
                # a timer that was overtaken by an earlier one
                return None
            self._armed = None
            self._gates.open(now)
            came_again = self._lanes.unpark(now)
            self._vigil.look(self._lanes)
            if self._filling is not None:
                self._filling.end(now)
                if came_again:
                    self._filling.skip()
            self._schedule()
            if self._armed is None:
                self._armed = self._next_due()
            return self._armed

    def _next_due(self) -> float | None:
        dues = [self._lanes.due, self._gates.due, self._filling.until if self._filling is not None else None]
        return min((due for due in dues if due is not None), default=None)

    def harvest(self) -> list[int]:
        """Offsets that running turns have finished so far: a slow call must not keep the earlier ones uncommitted."""
        found: list[int] = []
        if self._turns:
            with self.lock:
                for turn in self._turns:
                    if turn.done:
                        found += self._reap(turn)
        return found

    def close(self) -> None:
        """Start nothing new, drop what is queued, and post Ended when the running calls have returned."""
        with self.lock:
            if self.closed or self._is_closing:
                return
            self._is_closing = True
            if self._runs_out:
                # nobody else will run it: retries do not wait any longer, nor does what an operator has paused
                self.held = False
                self._lanes.unpark(math.inf)
                self._vigil.look(self._lanes)
                self._schedule()
            else:
                self._close()
            waits_for_copies = self._conclusion.unsettled > 0
            listeners = [turn.on_close for turn in self._turns if turn.on_close is not None]
            self.end_if_idle()
        for tell in listeners:
            tell()
        if waits_for_copies:
            self._settlement.hurry(self)

    def _close(self) -> None:
        """Start nothing new, and drop what is queued (lock held)."""
        self.closed = True
        self._vigil.end()
        self._lanes.clear()
        self.deferrals.clear()
        if self._lifecycle.needs_teardown and not self._turns:
            # teardown is user code: it runs where the handler ran
            self._executor.submit(self)

    def cancel(self) -> None:
        """The deadline has passed: interrupt what can be interrupted (calls on the event loop, child processes)."""
        with self.lock:
            if not self.closed:
                self._close()
            cancels = [turn.cancel for turn in self._turns]
        for cancel in cancels:
            if cancel is not None:
                cancel()

    @property
    def parked(self) -> int:
        """How many messages wait for another attempt; may be read by any thread."""
        return self._lanes.parked

    @property
    def head_attempts(self) -> int:
        return self.kept.most_attempts

    # -- the executors' side -----------------------------------------------------------------------

    def _executor_of(self, raw: Any) -> Executor:
        """Where a message of a topic with tasks of several kinds runs; one that nobody wants: anywhere."""
        task = self.binding.task_of(raw)
        return self._executor if task is None else self._executors.of(task)

    def _schedule(self) -> None:
        """Tell the executors that have something to run here (lock held)."""
        if not self.flows or self._lifecycle.is_under_way:
            return
        if self._filling is not None and self._filling.holds(self._lanes.queued):
            return
        if not self._lifecycle.is_ready:
            if self._lanes.queued:
                self._executor.submit(self)
            return
        for executor in self._ready():
            executor.submit(self)

    def _ready(self) -> list[Executor]:
        """The executors that have something to run here and may (lock held)."""
        return [one for one in self._lanes.executors() if not self._gates.is_shut(one)]

    @property
    def flows(self) -> bool:
        """Whether a turn may go on to the next message."""
        return not self.held and not self.closed

    def begin(self, executor: Executor) -> Turn | None:
        """What this executor is to run now; None when there is nothing (any more)."""
        with self.lock:
            turn = self._begin(executor)
            if turn is not None:
                self._turns.add(turn)
                turn.thread = threading.get_ident()
            return turn

    def is_ready(self, executor: Executor) -> bool:
        """Whether one more turn could begin now."""
        with self.lock:
            return self._lifecycle.is_ready and self.flows and self._may_run(executor)

    def _may_run(self, executor: Executor) -> bool:
        return self._lanes.is_ready(executor) and not self._gates.is_shut(executor)

    @property
    def is_busy(self) -> bool:
        """Whether a turn is under way; may be asked by any thread."""
        return bool(self._turns)

    def _begin(self, executor: Executor) -> Turn | None:
        step = self._lifecycle.next(closed=self.closed, busy=bool(self._turns))
        if step is not None:
            return LifecycleTurn(self, executor, step)
        if not self._lifecycle.is_ready or not self.flows or not self._lanes.is_ready(executor):
            return None
        if self._filling is not None and self._waits_for_batch(self._filling):
            return None
        is_alone = self._vigil.is_on
        if is_alone and not self._vigil.enter(executor):
            return None
        allowed = self.allow(executor, 1 if is_alone else self.batch or self._size.messages)
        if not allowed:
            self._vigil.leave()
            return None
        if self.batch is not None:
            raws = self._take_batch(executor, allowed)
            turn: Turn = BatchTurn(self, executor, self._lanes, raws)
            turn.waits = self._waits(raws)
        elif isinstance(self._lanes, SingleLane):
            raws = self._lanes.take(executor, allowed)
            turn = SliceTurn(self, executor, self._lanes, raws)
            turn.waits = self._waits(raws)
        else:
            raws = [self._lanes.next(executor)]
            turn = LaneTurn(self, executor, self._lanes, raws[0])
        self._gates.give_back(executor, allowed - len(raws))
        self._vigil.begun(turn, raws, is_alone=is_alone, is_batch=self.batch is not None)
        return turn

    @property
    def is_cautious(self) -> bool:
        """Whether one message at a time runs in this process."""
        return self._vigil.is_on

    def _waits(self, raws: Sequence[Any]) -> list[tuple[float, int]]:
        """How long these have waited for their first attempt."""
        if self.kept.attempts or self.kept.before is not None:
            raws = [raw for raw in raws if not self.kept.made(raw)]
        return self.arrivals.waits(raws, time.perf_counter())

    def _take_batch(self, executor: Executor, most: int) -> list[Any]:
        if isinstance(self._lanes, SingleLane):
            return self._lanes.take(executor, most, self.kept.alone)
        return self._lanes.take_batch(executor, most, self.kept.alone, self.kept.attempts)

    def allow(self, executor: Executor, wanted: int) -> int:
        """How many messages may start now, by the handler's rate; none: it goes on by itself later (lock held)."""
        count = self._gates.allow(executor, wanted)
        if count == 0 and (due := self._gates.due) is not None:
            self._arm(due)
        return count

    def _waits_for_batch(self, filling: Filling) -> bool:
        if not filling.waits(self._lanes.queued, at_once=bool(self.kept.alone)):
            return False
        assert filling.until is not None
        self._arm(filling.until)
        return True

    def make_router(self) -> None:
        """Make what finds the function of each message; a class handler has its instance by now."""
        self.router = delivery.Router(self.binding, self._make_invoker)

    # the harness makes parts that write down what becomes of each message

    def _make_invoker(self, handler: Handler[Any, Any]) -> delivery.Invoker:
        return delivery.Invoker(handler, self._lifecycle.instance, self.observer, self.clock)

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
        self.observer.started(size)
        try:
            await (batches.run(self, turn) if isinstance(turn, BatchTurn) else delivery.run(self, turn))
        finally:
            self.observer.ended(size)

    def conclude(self, turn: Turn, raw: Any, context: Context, outcome: Outcome) -> None:
        """Take over what one message came to, when it is more than being done; on the runner's thread."""
        if outcome.kind not in _SUCCESSES:
            turn.unfine.add(raw.offset())
        if context.held is not None:
            if outcome.is_fine:
                self.produced(turn, [raw], context, outcome)
                return
            context.held.drop(outcome.error)
        if outcome.kind is Kind.DONE and context.sends is None and self.seen is None:
            turn.done.append(raw.offset())
            return
        outcome = self._conclusion.final(outcome)
        turn.counts[outcome.kind.value] = turn.counts.get(outcome.kind.value, 0) + 1
        self._conclusion.conclude(turn, raw, context, outcome)

    def produced(self, turn: Turn, raws: Sequence[Any], context: Context, outcome: Outcome) -> None:
        """A transactional call is over: its offsets and what it has sent go together."""
        assert context.held is not None
        kind = outcome.kind.value
        turn.counts[kind] = turn.counts.get(kind, 0) + len(raws)
        offsets = [raw.offset() for raw in raws]
        with self.lock:
            self.forget(offsets)
            self.passed(len(offsets))
        self.post(Produced(self, offsets, context.held.close()))

    def await_sends(self, raw: Any, context: Context, outcome: Outcome) -> None:
        """Finish a message when everything that its call has sent is confirmed."""
        self._conclusion.await_sends(raw, context, outcome)

    def give_up_settling(self) -> None:
        """A copy could not be written and the partition is not ours any more: the message comes again."""
        self._conclusion.give_up_settling()

    def retry(self, turn: Turn, raw: Any, outcome: Outcome) -> None:
        """A message that was just run is tried again later: its lane waits with it."""
        with self.lock:
            self.kept.count(raw, outcome.attempt)
            if self.closed:
                return
            self.deferrals.forget([raw.offset()])
            due = self.clock.monotonic() + outcome.delay
            if isinstance(turn, BatchTurn):
                turn.back[raw.offset()] = due
                return
            turn.stop_lane()
            self._lanes.park(raw, due, holds=True)
            self._arm(due)

    def retry_late(self, raw: Any, outcome: Outcome) -> None:
        """A send that a call had made was refused after the call returned: the message comes again."""
        with self.lock:
            self.kept.count(raw, outcome.attempt)
            if not self.closed:
                due = self.clock.monotonic() + outcome.delay
                self._lanes.park(raw, due, holds=False)
                self._vigil.look(self._lanes)
                self._arm(due)

    def passed(self, count: int) -> None:
        """So many messages were handled (lock held)."""
        if self.breaker is not None and count:
            self.breaker.passed(count, now=self.clock.monotonic())

    def forget(self, offsets: Sequence[int]) -> None:
        """Messages are over: nothing is kept of them (lock held, or nobody else knows them any more)."""
        self.kept.forget(offsets)
        if self.seen is not None:
            self.seen.release(offsets)

    def _arm(self, due: float) -> None:
        """Have `unpark` called then, unless that happens earlier anyway (lock held)."""
        if self._armed is None or due < self._armed:
            self._armed = due
            self.post(Park(self, due))

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
        self._vigil.end()
        self._lanes.clear()
        self.deferrals.clear()
        return self._reap(turn) if turn is not None else []

    def _ask_for_another(self, done: Sequence[int], news: Crashed | Halted, turn: Turn | None) -> None:
        if done:
            # before that is reported: what is done must not run again
            self.post(Finished(self, done))
        self.post(news)
        if turn is None:
            self._report_end()

    def _reap(self, turn: Turn) -> list[int]:
        """Take what a turn has finished (lock held)."""
        done = turn.done
        found = [done.popleft() for _ in range(len(done))]
        turn.harvested += len(found)
        self.passed(len(found))
        self.forget(found)
        self.deferrals.forget(found)
        return found

    def settle(self, turn: Turn) -> bool:
        """Take over what a turn came to; True when its executor should come again."""
        with self.lock:
            done = self._reap(turn)
            self._turns.discard(turn)
            turn.current = None
            self._vigil.over(turn)
            if isinstance(turn, LifecycleTurn) and not self.closed:
                self._lifecycle.settled()
            elif not self.closed:
                due = turn.give_back()
                if due is not None:
                    self._arm(due)
                self._vigil.look(self._lanes)
            self._size.learn(turn.durations)
            again = self._goes_on(turn.executor)
            is_hungry = self._lanes.queued == 0
        if done:
            self.post(Finished(self, done, is_urgent=is_hungry or self.closed))
        if turn.durations or turn.counts:
            counts = turn.counts
            counts["ok"] = counts.get("ok", 0) + turn.harvested
            self.observer.finished(turn.durations, counts)
            self._tell_times(turn)
        self._report_end()
        return again

    def _tell_times(self, turn: Turn) -> None:
        turn.note_ages()
        if turn.waits:
            self.observer.waited(turn.waits)
        if turn.ages:
            self.observer.aged(turn.ages)

    @property
    def calls(self) -> int:
        """How many turns are under way, each in a place of its executor; may be read by any thread."""
        return len(self._turns)

    def _goes_on(self, executor: Executor) -> bool:
        """Whether this executor has more to do here (lock held); others are told."""
        if self.closed:
            return self._lifecycle.needs_teardown and not self._turns
        if not self.flows or not self._lifecycle.is_ready:
            return False
        ready = self._ready()
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
        return not (self._lanes.queued or self._lanes.parked or self._turns or self._conclusion.unsettled)

    def end_if_idle(self) -> None:
        """Tell the group manager that a closed worker has nothing left to wait for (lock held)."""
        if self._is_closing and not self.closed and self._has_run_out:
            self._close()
        if not self.closed or self._turns or self._conclusion.unsettled > 0:
            return
        if not self._lifecycle.needs_teardown:
            self.post(Ended(self))
