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
from elsa.outcome import Kind, Outcome
from elsa.worker import batches, delivery
from elsa.worker.mailbox import Crashed, Ended, Finished, Held, Park

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from elsa.app import App
    from elsa.clock import Clock
    from elsa.message import Message, TopicPartition
    from elsa.observer import HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.delivery import SliceResult
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
        self._deferred: dict[int, Any] = {}
        self._singly: int = -1
        self._limit = 16
        self._instance: Any = None
        self._is_set_up = False
        self._torn_down = False
        self._has_run = False
        self._announced = False
        #: what runs now, for the report of a forced stop: (message, thread identity)
        self.running: tuple[Any, int] | None = None
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

    def ack(self, messages: Sequence[Message]) -> None:
        """Finish deferred messages; from any thread."""
        offsets = []
        with self._lock:
            for message in messages:
                if self.closed or self._deferred.pop(message.offset, None) is None:
                    state = "is not assigned here any more" if self.closed else "is not deferred"
                    raise NotAssigned(
                        f"cannot acknowledge {message.topic}[{message.partition}] offset {message.offset}: it {state}",
                        topic=message.topic,
                        partition=message.partition,
                        offset=message.offset,
                        hint="it will be delivered again" if self.closed else "return elsa.DEFER first, ack once",
                    )
                offsets.append(message.offset)
        self.post(Finished(self, offsets))

    # -- the group manager's side ------------------------------------------------------------------

    def put(self, raws: Sequence[Any]) -> None:
        """Append a slice to the lane."""
        with self._lock:
            if self.closed:
                return
            self._queue.extend(raws)
            self._schedule()

    def unpark(self, now: float) -> None:
        """The pause of a waiting retry (or of a filling batch) is over."""
        with self._lock:
            if self._parked_until is None or now < self._parked_until:
                # somebody parked it for longer since: that one's timer is still to come
                return
            self._parked_until = None
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
            self._end_if_idle()

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
        if self.binding.handler is not None or not self._queue:
            return self._executors.of(self.binding.first)
        invoker = self.router.invoker(self._queue[0]) if self._is_set_up else None
        return self._executors.of(invoker.handler if invoker is not None else self.binding.first)

    def _schedule(self) -> None:
        """Hand the lane to its executor if there is something to do and nobody has it (lock held)."""
        if self._scheduled or not self._queue or self._parked_until is not None:
            return
        if self.batch is not None and self._waits_for_batch():
            return
        self._scheduled = True
        self._executor().submit(self)

    def _waits_for_batch(self) -> bool:
        """Whether a batch that is not full yet waits for more, at most `batch_wait` from its first message."""
        assert self.batch is not None
        if self._announced or len(self._queue) >= self.batch or self.batch_wait == 0 or self._singly >= 0:
            self._announced = False
            return False
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
                return [queue.popleft() for _ in range(min(count, len(queue)))]
            count = min(self._limit, len(queue))
            raws = [queue.popleft() for _ in range(count)]
        if self.router_is_mixed and len(raws) > 1:
            raws = self._same_kind(raws)
        return raws

    @property
    def router_is_mixed(self) -> bool:
        """Whether tasks of both kinds share this topic."""
        return len({task.is_async for task in self.binding.tasks.values()}) > 1

    def _same_kind(self, raws: list[Any]) -> list[Any]:
        kinds = [(invoker := self.router.invoker(raw)) is not None and invoker.is_async for raw in raws]
        count = next((i for i, kind in enumerate(kinds) if kind != kinds[0]), len(raws))
        with self._lock:
            if not self.closed:
                self._queue.extendleft(reversed(raws[count:]))
        return raws[:count]

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
        self.running = (raws[0], threading.get_ident())
        self.observer.started(len(raws))
        try:
            return batches.run_batch(self, raws) if self.batch is not None else delivery.run_threads(self, raws)
        finally:
            self.observer.ended(len(raws))

    async def run_async(self, raws: Sequence[Any]) -> SliceResult:
        """Run messages on the event loop."""
        self.running = (raws[0], threading.get_ident())
        self.observer.started(len(raws))
        try:
            if self.batch is not None:
                return await batches.run_batch_async(self, raws)
            return await delivery.run_loop(self, raws)
        finally:
            self.observer.ended(len(raws))

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
        self.running = None
        if result is None:
            return self._release([], None)
        self._adapt(result.durations)
        counts: dict[str, int] = {"ok": len(result.done) + len(result.sending)}
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
        if self.attempts and result.done:
            for offset in result.done:
                self.attempts.pop(offset, None)
        if result.done:
            self.post(Finished(self, result.done))
        for raw, context, _ in result.sending:
            self._await_sends(raw, context)
        self.observer.finished(result.durations, counts)
        return self._release(back, park)

    def _release(self, back: list[Any], park: float | None) -> bool:
        with self._lock:
            if self.closed:
                if self._instance is not None and not self._torn_down:
                    return True
                self._scheduled = False
                self._end_if_idle()
                return False
            self._queue.extendleft(reversed(back))
            if park is not None:
                self._parked_until = park
                self.post(Park(self, park))
            self._scheduled = False
            if not self._queue or self._parked_until is not None:
                return False
            if self.batch is not None and self._waits_for_batch():
                return False
            self._scheduled = True
            return True

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
            self._settlement.dead_letter(self, raw, outcome, self._settled)
        elif outcome.kind is Kind.SKIPPED:
            self.attempts.pop(offset, None)
            self.post(Finished(self, [offset]))
        elif outcome.kind is Kind.DEFERRED:
            with self._lock:
                if not self.closed:
                    self._deferred[offset] = raw
        elif outcome.kind is Kind.CONTINUED:
            self.post(Held(self, [offset]))
        elif outcome.kind is Kind.CRASHED:
            assert outcome.error is not None
            self.crashed(outcome.error)

    # -- confirmations, on the producer's thread ---------------------------------------------------

    def _begin_settling(self) -> None:
        with self._lock:
            self._unsettled += 1

    def _settled(self, raw: Any) -> None:
        """A message is finished now: its copy, or every send of its call, is confirmed."""
        self.attempts.pop(raw.offset(), None)
        self.post(Finished(self, [raw.offset()]))
        self._end_settling()

    def _end_settling(self) -> None:
        with self._lock:
            self._unsettled -= 1
            self._end_if_idle()

    def give_up_settling(self) -> None:
        """A copy could not be written and the partition is not ours any more: the message comes again."""
        self._end_settling()

    def _await_sends(self, raw: Any, context: Context) -> None:
        self._begin_settling()
        self._settlement.confirm_sends(raw, context, self._settled, self._send_failed)

    def _send_failed(self, raw: Any, error: BaseException, attempt: int) -> None:
        """A send made by a finished call was refused, so the call has failed: decide as if it had raised."""
        invoker = self.router.invoker(raw)
        assert invoker is not None
        outcome = invoker.failed(error, attempt, raw)
        if outcome.kind is Kind.RETRY:
            with self._lock:
                if not self.closed:
                    self.attempts[raw.offset()] = outcome.attempt
                    self._queue.appendleft(raw)
                    self._parked_until = self._clock.monotonic() + outcome.delay
                    self.post(Park(self, self._parked_until))
        else:
            self._conclude(raw, outcome)
        self._end_settling()

    def _end_if_idle(self) -> None:
        """Tell the group manager, once, that a closed worker has nothing left to wait for (lock held)."""
        if self.closed and not self._scheduled and self._unsettled == 0:
            self.post(Ended(self))
