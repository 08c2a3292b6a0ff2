"""One assigned partition of one handler: its lane, attempts, state object; made at assignment, ended at revoke.

Threads. The group manager's thread makes it, `put`s slices, `unpark`s and `close`s it. An executor runs it
(`take`, then `settle`), never two at once: `_scheduled` is true from the hand-over to the executor until
`settle` found the lane empty, parked or closed. Deliveries of sends and copies end on the producer's thread,
`ack` may come from any. All of them change the lane under `_lock`, held for moments and never while user
code runs; everything for the group manager goes through `post`, its mailbox.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from elsa.context import Context
from elsa.errors import NotAssigned
from elsa.kafka.consumer import to_message
from elsa.outcome import DONE, Kind, Outcome
from elsa.worker import batches, delivery
from elsa.worker.delivery import SliceResult
from elsa.worker.mailbox import Crashed, Ended, Finished, Held, Park

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.message import Message, TopicPartition
    from elsa.observer import HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.executors import Executor, Executors
    from elsa.worker.settlement import Settlement

log = logging.getLogger("elsa.worker")

#: a slice aims at this many seconds of handler time, within these numbers of messages
_SLICE_TARGET = 0.02
_SLICE_MOST = 256


class PartitionWorker:
    """Runs the messages of one assignment (epoch) of one partition, in order.

    `closed` is read by the running slice before each message; once set it never returns.
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
    ) -> None:
        self.partition = partition
        self.binding = binding
        self.app = app
        self.epoch = epoch
        self.generation = generation
        self.observer = observer
        self.closed = False
        #: True while nothing new may run, because too much is finished and not committed
        self.held = False
        self._is_mixed = len({task.is_async for task in binding.tasks.values()}) > 1
        self.attempts: dict[int, int] = {}
        self.batch = binding.handler.declared.batch if binding.handler is not None else None
        self.batch_wait = binding.first.declared.batch_wait
        self.to_message: Callable[[Any], Message] = functools.partial(to_message, generation=generation)
        self.post = post
        self.router: delivery.Router
        self._clock = clock
        self._executors = executors
        self._settlement = settlement
        self._lock = threading.Lock()
        self._queue: deque[Any] = deque()
        self._scheduled = False
        self._parked_until: float | None = None
        self._unsettled = 0
        self._deferred: dict[int, tuple[Any, Context]] = {}
        self._acked_early: set[int] = set()
        #: first and last offset of the slice that runs
        self._slice = (0, -1)
        self._singly: int = -1
        self._limit = 16
        self._instance: Any = None
        self._is_set_up = False
        self._torn_down = False
        self._has_run = False
        self._announced = False
        #: parked only until the batch is full, not for a retry
        self._is_filling = False
        #: the slice that runs now and the identity of its thread
        self._run: tuple[Sequence[Any], int] | None = None
        #: grows by one with each message of it that is through
        self.progress: Sequence[float] = ()
        #: tells the executor that the running call is to be cancelled (event loop only)
        self.cancel_running: Callable[[], None] | None = None

    # -- what contexts ask -------------------------------------------------------------------------

    @property
    def handler_name(self) -> str:
        return self.binding.name

    @property
    def group(self) -> str | None:
        return self.binding.group

    @property
    def is_stopping(self) -> bool:
        return self.closed

    @property
    def running(self) -> tuple[Any, int] | None:
        """What runs now, for the report of a forced stop: (message, thread identity); may be asked by any thread."""
        run = self._run
        if run is None:
            return None
        raws, thread = run
        return raws[min(len(self.progress), len(raws) - 1)], thread

    def ack(self, messages: Sequence[Message]) -> None:
        """Finish deferred messages; from any thread."""
        found = []
        with self._lock:
            for message in messages:
                if not self.closed and self._is_running(message.offset):
                    # faster than its handler: kept until that has returned DEFER
                    self._acked_early.add(message.offset)
                    continue
                deferred = self._deferred.pop(message.offset, None)
                if self.closed or deferred is None:
                    state = "is not assigned here any more" if self.closed else "is not deferred"
                    raise NotAssigned(
                        f"cannot acknowledge {message.topic}[{message.partition}] offset {message.offset}: it {state}",
                        topic=message.topic,
                        partition=message.partition,
                        offset=message.offset,
                        hint="it will be delivered again" if self.closed else "return elsa.DEFER first, ack once",
                    )
                found.append(deferred)
        self._finish_deferred(found)

    def _is_running(self, offset: int) -> bool:
        """Whether a message is in the slice that runs now, and was not acknowledged yet (lock held)."""
        first, last = self._slice
        return first <= offset <= last and offset not in self._deferred and offset not in self._acked_early

    def _finish_deferred(self, found: Sequence[tuple[Any, Context]]) -> None:
        """Deferred messages were acknowledged; those that have sent something still wait for its confirmation."""
        offsets = [raw.offset() for raw, context in found if context.sends is None]
        for offset in offsets:
            self.attempts.pop(offset, None)
        if offsets:
            self.post(Finished(self, offsets))
        for raw, context in found:
            if context.sends is not None:
                self._await_sends(raw, context, DONE)

    # -- the group manager's side ------------------------------------------------------------------

    def put(self, raws: Sequence[Any]) -> None:
        """Append a slice to the lane."""
        with self._lock:
            if self.closed:
                return
            self._queue.extend(raws)
            self._schedule()

    def hold(self) -> None:
        """Run nothing new until `let_go`; what is queued stays."""
        self.held = True

    def let_go(self) -> None:
        """Go on after `hold`."""
        with self._lock:
            self.held = False
            self._schedule()

    def unpark(self, now: float) -> None:
        """The pause of a waiting retry (or of a filling batch) is over."""
        with self._lock:
            if self._parked_until is None or now < self._parked_until:
                # somebody parked it for longer since: that one's timer is still to come
                return
            self._parked_until = None
            self._is_filling = False
            self._announced = True
            self._schedule()

    def close(self) -> None:
        """Start nothing new, drop what is queued, and post Ended when the running call has returned."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._queue.clear()
            self._deferred.clear()
            if self._instance is not None and not self._scheduled:
                # teardown is user code: it runs where the handler ran
                self._scheduled = True
                self._executor().submit(self)
            waits_for_copies = self._unsettled > 0
            self._end_if_idle()
        if waits_for_copies:
            self._settlement.hurry(self)

    def cancel(self) -> None:
        """The deadline has passed: interrupt what can be interrupted (calls on the event loop)."""
        cancel = self.cancel_running
        if cancel is not None:
            cancel()

    @property
    def is_idle(self) -> bool:
        with self._lock:
            return not self._scheduled and self._unsettled == 0

    @property
    def parked(self) -> bool:
        return self._parked_until is not None

    @property
    def head_attempts(self) -> int:
        return max(self.attempts.values(), default=0)

    # -- the executor's side -----------------------------------------------------------------------

    def _executor(self) -> Executor:
        """Where the lane's head runs; tasks of one topic may be of both kinds."""
        if not self._is_mixed or not self._queue or not self._is_set_up:
            return self._executors.of(self.binding.first)
        invoker = self.router.invoker(self._queue[0])
        if invoker is not None:
            return self._executors.of(invoker.handler)
        return self._executors.of(next(task for task in self.binding.tasks.values() if not task.is_async))

    def _schedule(self) -> None:
        """Hand the lane to its executor if there is something to do and nobody has it (lock held)."""
        if self._is_filling and self.batch is not None and len(self._queue) >= self.batch:
            self._is_filling = False
            self._parked_until = None
        if self._scheduled or self.held or self.closed or not self._queue or self._parked_until is not None:
            return
        if self.batch is not None and self._waits_for_batch():
            return
        self._scheduled = True
        self._executor().submit(self)

    def _waits_for_batch(self) -> bool:
        """Whether a batch that is not full yet waits for more, at most `batch_wait` from its first message."""
        assert self.batch is not None
        is_single = self._queue[0].offset() <= self._singly
        if self._announced or len(self._queue) >= self.batch or self.batch_wait == 0 or is_single:
            self._announced = False
            return False
        self._is_filling = True
        self._parked_until = self._clock.monotonic() + self.batch_wait
        self.post(Park(self, self._parked_until))
        return True

    def take(self) -> list[Any]:
        """The next messages to run together; empty when there is nothing (any more)."""
        with self._lock:
            self._has_run = True
            queue = self._queue
            if self.batch is not None:
                count = 1 if queue and queue[0].offset() <= self._singly else self.batch
                return self._begin([queue.popleft() for _ in range(min(count, len(queue)))])
            count = min(self._limit, len(queue))
            return self._begin([queue.popleft() for _ in range(count)])

    def _begin(self, raws: list[Any]) -> list[Any]:
        """These messages run next (lock held)."""
        if raws:
            self._slice = (raws[0].offset(), raws[-1].offset())
        return raws

    def _is_async(self, raw: Any) -> bool:
        """Which executor a message of a topic with tasks of both kinds needs; any does for one that nobody wants."""
        invoker = self.router.invoker(raw)
        return invoker is not None and invoker.is_async

    def _leading(self, raws: Sequence[Any], *, is_async: bool) -> int:
        """How many messages from the first one on may run on this kind of executor."""
        if not self._is_mixed:
            return len(raws)
        return next((i for i, raw in enumerate(raws) if self._is_async(raw) != is_async), len(raws))

    def lifecycle(self) -> Callable[[], Any] | None:
        """What the executor calls (or awaits) before the next slice: a class handler's `setup` or `teardown`."""
        if self.closed:
            if self._instance is None or self._torn_down:
                return None
            self._torn_down = True
            return getattr(self._instance, "teardown", None)
        if self._is_set_up:
            return None
        self._is_set_up = True
        handler = self.binding.handler
        setup = None
        if handler is not None and handler.is_class:
            instance = handler.target()
            if hasattr(instance, "setup"):
                setup = functools.partial(instance.setup, Context(self, (), self.to_message, 1))
            self._instance = instance
        self.router = delivery.Router(
            self.binding, lambda one: delivery.Invoker(one, self._instance, self.observer, self._clock)
        )
        return setup

    def run(self, raws: Sequence[Any]) -> SliceResult:
        """Run messages in this thread."""
        count = self._leading(raws, is_async=False)
        if count < len(raws):
            return self._rest_later(self.run(raws[:count]), raws[count:]) if count else SliceResult(rest=raws)
        self.progress, self._run = (), (raws, threading.get_ident())
        self.observer.started(len(raws))
        try:
            return batches.run_batch(self, raws) if self.batch is not None else delivery.run_threads(self, raws)
        finally:
            self.observer.ended(len(raws))

    async def run_async(self, raws: Sequence[Any]) -> SliceResult:
        """Run messages on the event loop."""
        count = self._leading(raws, is_async=True)
        if count < len(raws):
            if not count:
                return SliceResult(rest=raws)
            return self._rest_later(await self.run_async(raws[:count]), raws[count:])
        self.progress, self._run = (), (raws, threading.get_ident())
        self.observer.started(len(raws))
        try:
            if self.batch is not None:
                return await batches.run_batch_async(self, raws)
            return await delivery.run_loop(self, raws)
        finally:
            self.observer.ended(len(raws))

    @staticmethod
    def _rest_later(result: SliceResult, raws: Sequence[Any]) -> SliceResult:
        result.rest = [*result.rest, *raws]
        return result

    def run_singly(self, offsets: Sequence[int], attempts: int) -> None:
        """Run these members of a failed batch one at a time, at their last attempt."""
        self._singly = max(offsets)
        for offset in offsets:
            self.attempts[offset] = attempts

    def crashed(self, error: BaseException) -> None:
        """The executor or a `setup` failed: ask the group manager for a new worker at the last unfinished offset."""
        with self._lock:
            if self.closed:
                log.error("teardown failed", exc_info=error, extra={"partition": str(self.partition)})
                return
            # nothing behind the message that crashed may run before it does
            self.closed = True
            # what was never set up is not torn down
            self._torn_down = self._torn_down or not self._has_run
            self._queue.clear()
        self.post(Crashed(self, error))

    def settle(self, result: SliceResult | None) -> bool:
        """Take over what a slice came to; True when the executor should run the lane again."""
        self._run = None
        if result is None:
            return self._release([], None)
        self._adapt(result.durations)
        counts: dict[str, int] = {"ok": len(result.done)}
        if self.attempts and result.done:
            for offset in result.done:
                self.attempts.pop(offset, None)
        if result.done:
            # before a crash is reported: what is done must not run again
            self.post(Finished(self, result.done))
        back: list[Any] = list(result.rest)
        park: float | None = None
        for raw, outcome in result.others:
            counts[outcome.kind.value] = counts.get(outcome.kind.value, 0) + 1
            if outcome.kind is Kind.RETRY:
                self.attempts[raw.offset()] = outcome.attempt
                back.insert(0, raw)
                park = self._clock.monotonic() + outcome.delay
            else:
                self._conclude(raw, outcome)
        for raw, context, outcome in result.sending:
            counts[outcome.kind.value] = counts.get(outcome.kind.value, 0) + 1
            self._await_sends(raw, context, outcome)
        if result.deferred:
            counts[Kind.DEFERRED.value] = len(result.deferred)
            self._defer(result.deferred)
        self.observer.finished(result.durations, counts)
        return self._release(back, park)

    def _defer(self, deferred: Sequence[tuple[Any, Context]]) -> None:
        with self._lock:
            if self.closed:
                return
            acked = [one for one in deferred if one[0].offset() in self._acked_early]
            self._deferred.update((one[0].offset(), one) for one in deferred if one not in acked)
        self._finish_deferred(acked)

    def _release(self, back: list[Any], park: float | None) -> bool:
        with self._lock:
            self._slice = (0, -1)
            self._acked_early.clear()
            if self.closed:
                if self._instance is not None and not self._torn_down:
                    return True
                self._scheduled = False
                self._end_if_idle()
                return False
            self._put_back(back)
            if park is not None:
                self._park(park)
            self._scheduled = False
            if self.held or not self._queue or self._parked_until is not None:
                return False
            if self.batch is not None and self._waits_for_batch():
                return False
            self._scheduled = True
            if self._is_mixed:
                self._executor().submit(self)
                return False
            return True

    def _put_back(self, raws: Sequence[Any]) -> None:
        """Messages go back to the front of the lane, in order (lock held)."""
        queue = self._queue
        if raws and queue and queue[0].offset() < raws[-1].offset():
            # the call of an earlier one has failed late, by a send that was refused
            self._queue = deque(sorted([*raws, *queue], key=lambda raw: int(raw.offset())))
        else:
            queue.extendleft(reversed(raws))

    def _park(self, until: float) -> None:
        """Run nothing before a time (lock held)."""
        self._is_filling = False
        self._parked_until = max(until, self._parked_until or until)
        self.post(Park(self, self._parked_until))

    def _adapt(self, durations: Sequence[float]) -> None:
        """Slices of slow handlers are short (their results are known early), those of fast ones long."""
        if durations:
            mean = sum(durations) / len(durations)
            wanted = int(_SLICE_TARGET / mean) if mean > 0 else _SLICE_MOST
            self._limit = max(1, min(_SLICE_MOST, wanted, self._limit * 4))

    def _conclude(self, raw: Any, outcome: Outcome) -> None:
        offset = raw.offset()
        if outcome.kind is Kind.DEAD:
            self._begin_settling()
            self._settlement.dead_letter(self, raw, outcome, self._given_up)
        elif outcome.kind is Kind.SKIPPED:
            self.attempts.pop(offset, None)
            self.post(Finished(self, [offset], acknowledges=False))
        elif outcome.kind is Kind.CONTINUED:
            self.attempts.pop(offset, None)
            self.post(Held(self, [offset]))
        elif outcome.kind is Kind.CRASHED:
            assert outcome.error is not None
            self.crashed(outcome.error)

    # -- confirmations, on the producer's thread ---------------------------------------------------

    def _begin_settling(self) -> None:
        with self._lock:
            self._unsettled += 1

    def _settled(self, raw: Any) -> None:
        """A message is finished now: every send of its call is confirmed."""
        self.attempts.pop(raw.offset(), None)
        self.post(Finished(self, [raw.offset()]))
        self._end_settling()

    def _given_up(self, raw: Any) -> None:
        """A message is given up: its copy, or what a call that skips it has sent, is confirmed."""
        self.attempts.pop(raw.offset(), None)
        self.post(Finished(self, [raw.offset()], acknowledges=False))
        self._end_settling()

    def _settled_held(self, raw: Any) -> None:
        self.attempts.pop(raw.offset(), None)
        self.post(Held(self, [raw.offset()]))
        self._end_settling()

    def _end_settling(self) -> None:
        with self._lock:
            self._unsettled -= 1
            self._end_if_idle()

    def give_up_settling(self) -> None:
        """A copy could not be written and the partition is not ours any more: the message comes again."""
        self._end_settling()

    def _await_sends(self, raw: Any, context: Context, outcome: Outcome) -> None:
        self._begin_settling()
        endings = {Kind.CONTINUED: self._settled_held, Kind.SKIPPED: self._given_up}
        settled = endings.get(outcome.kind, self._settled)
        self._settlement.confirm_sends(raw, context, settled, self._send_failed)

    def _send_failed(self, raw: Any, error: BaseException, attempt: int) -> None:
        """A send made by a finished call was refused, so the call has failed: decide as if it had raised."""
        invoker = self.router.invoker(raw)
        assert invoker is not None
        outcome = invoker.failed(error, attempt, raw)
        if outcome.kind is Kind.RETRY:
            with self._lock:
                if not self.closed:
                    self.attempts[raw.offset()] = outcome.attempt
                    self._put_back([raw])
                    self._park(self._clock.monotonic() + outcome.delay)
        else:
            self._conclude(raw, outcome)
        self._end_settling()

    def _end_if_idle(self) -> None:
        """Tell the group manager, once, that a closed worker has nothing left to wait for (lock held)."""
        if self.closed and not self._scheduled and self._unsettled == 0:
            self.post(Ended(self))
