"""Runs a handler on messages: decode, middleware, call, and what it came to; called by the partition worker.

The loop is the hot path: nothing here looks up a metric, writes a log line or asks for a trace unless somebody
listens. It is one coroutine for both kinds of handlers: the event loop awaits it, a thread drives it to its end in
one go, since a sync handler never suspends it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import time
from typing import TYPE_CHECKING, Any

from elsa import headers as header_names
from elsa import middleware as onion
from elsa.context import _ACTIVE, Context, Held
from elsa.errors import DecodeError, HandlerResultError, HandlerTimeout, PoisonMessage, Reject, Signal
from elsa.outcome import ABANDONED, CONTINUED, DEFERRED, DONE, AckThrough, Kind, Outcome, Result
from elsa.policies import expiry, retried
from elsa.worker import traced
from elsa.worker.caution import MOST_DEATHS

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from elsa.clock import Clock
    from elsa.handlers import Handler
    from elsa.observer import HandlerObserver
    from elsa.registry import Binding
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import Turn

log = logging.getLogger("elsa.worker")

_counter = time.perf_counter

#: what becomes of a message that has failed for the last time
_EXHAUSTED = {"dead_letter": Kind.DEAD, "skip": Kind.SKIPPED, "stop": Kind.HALTED}


class Invoker:
    """One handler made ready to be called in one partition: decoder, function, middleware, policy."""

    def __init__(self, handler: Handler[Any, Any], instance: Any, observer: HandlerObserver, clock: Clock) -> None:
        self.handler = handler
        self.observer = observer
        self.is_async = handler.is_async
        self.retry = handler.declared.retry
        #: None where no message can be moved to a topic
        declared = handler.declared
        moves = handler.group is not None and declared.delivery == "at_least_once" and not declared.transactional
        self._ordering = handler.declared.ordering if moves else None
        self.timeout = handler.declared.timeout
        self.expires = handler.declared.expires
        self._clock = clock
        batch = handler.declared.batch is not None
        method = "handle_batch" if batch else "handle"
        self.function: Callable[..., Any] = handler.shape.callable(
            getattr(instance, method) if instance is not None else handler.target
        )
        self._middlewares = tuple(handler.app.middleware_for(is_async=handler.is_async))
        #: `call(raw, context)`: the result, or an awaitable of it
        self.call = self._compile_task() if hasattr(handler, "_decode_call") else self._compile()

    def _compile(self) -> Callable[[Any, Context], Any]:
        decode, function, shape = self.handler.decode, self.function, self.handler.shape
        if not shape.has_body:
            return self._wrapped(lambda _: None)
        if decode is None:
            return self._wrapped(None)
        if shape.context is None and not self._middlewares and self.timeout is None:
            return lambda raw, _: function(decode(raw.value()))
        return self._wrapped(lambda raw: decode(raw.value()))

    def _wrapped(self, decode: Callable[[Any], Any] | None) -> Callable[[Any, Context], Any]:
        shape = self.handler.shape

        def call(raw: Any, context: Context) -> Any:
            body = context.message if decode is None else decode(raw)
            return self.run((body,) if shape.has_body else (), {}, context)

        return call

    def _compile_task(self) -> Callable[[Any, Context], Any]:
        decode: Callable[[bytes | None], Any] = self.handler._decode_call  # type: ignore[attr-defined]  # a Task

        def call(raw: Any, context: Context) -> Any:
            bound = decode(raw.value())
            return self.run(bound.args, bound.kwargs, context)

        return call

    def run(self, args: tuple[Any, ...], kwargs: dict[str, Any], context: Context) -> Any:
        """Call the function inside middleware and time limit with decoded arguments."""
        if self.handler.shape.context:
            kwargs = {**kwargs, self.handler.shape.context: context}
        if self.timeout is not None:
            # threads cannot be interrupted: they are told, and may look at ctx.deadline
            context.deadline = self._clock.monotonic() + self.timeout
        call = functools.partial(self.function, *args, **kwargs) if args or kwargs else self.function
        result = onion.compose(self._middlewares, call, context) if self._middlewares else call()
        return self._limited(result) if self.timeout is not None and self.is_async else result

    async def _limited(self, awaitable: Any) -> Any:
        try:
            async with asyncio.timeout(self.timeout):
                return await awaitable
        except TimeoutError as error:
            raise HandlerTimeout(f"{self.handler.name} ran longer than {self.timeout:g} s") from error

    def failed(self, error: BaseException, attempt: int, raw: Any) -> Outcome:
        """What becomes of a message whose call raised."""
        if isinstance(error, MemoryError):
            # the process is in trouble, not the message: it must not climb the ladder to the dead letters
            return Outcome(Kind.CRASHED, error=error, attempt=attempt)
        try:
            outcome = self.retry.decide(error, attempt, self._age(raw), ordering=self._ordering)
        except Exception as broken:  # the user's `when=` raised: its bug must not lose the message
            outcome = Outcome(Kind.DEAD, reason="exhausted", error=broken, attempt=attempt)
        if outcome.kind is Kind.DEAD and outcome.reason == "exhausted" and isinstance(error, HandlerTimeout):
            outcome = Outcome(Kind.DEAD, reason="timeout", error=error, attempt=attempt)
        if outcome.kind is Kind.DEAD and outcome.reason in ("exhausted", "timeout"):
            kind = _EXHAUSTED[self.handler.declared.on_exhausted]
            outcome = Outcome(kind, reason=outcome.reason, error=outcome.error, attempt=attempt)
        if outcome.kind is not Kind.SKIPPED:
            self.observer.exception(error, attempt)
            self._tell(error, outcome, raw)
        return outcome

    def expired(self, raw: Any, attempt: int) -> Outcome | None:
        """What becomes of a message that is too old for this attempt; None when it is to be run."""
        came = retried.came_at(raw) if self.expires is not None else None
        why = expiry.expired(raw.headers(), now=self._clock.now(), came=came, limit=self.expires)
        if why is None:
            return None
        self.observer.expired(1)
        if self.handler.declared.on_expired == "skip":
            return Outcome(Kind.SKIPPED, reason="expired", attempt=attempt - 1)
        return Outcome(Kind.DEAD, reason="expired", error=Reject(why), attempt=attempt - 1)

    def _age(self, raw: Any) -> float | None:
        """Seconds since the message came to its topic first, None when nothing says so."""
        came = retried.came_at(raw)
        return None if came is None else self._clock.now() - came

    def _tell(self, error: BaseException, outcome: Outcome, raw: Any) -> None:
        """Log what failed and what happens next; equal lines pass once a minute (`limit`), however many fail."""
        is_asked_for = isinstance(error, Signal)
        log.log(
            logging.INFO if is_asked_for else logging.WARNING,
            "a handler refused its message" if is_asked_for else "a handler failed",
            exc_info=None if is_asked_for else error,
            extra={
                "event": "handler_failed",
                # exporters of logs take words and numbers only
                "limit": (self.handler.name, type(error).__qualname__, outcome.kind.value),
                "handler": self.handler.name,
                # said outside of a call, of a child process for example, no context says it
                "group": self.handler.group,
                "topic": raw.topic(),
                "partition": raw.partition(),
                "offset": raw.offset(),
                "attempt": outcome.attempt,
                "next": _next(outcome),
                "error": str(error),
            },
        )

    def interpret(self, value: Any, raws: Sequence[Any], attempt: int) -> Outcome:
        """What a handler's result means for its message or batch."""
        if self.handler.declared.transactional and value in (Result.DEFER, Result.CONTINUE):
            return self._untransactional(value, raws, attempt)
        if value is Result.DEFER:
            return DEFERRED
        if value is Result.CONTINUE:
            return self._continued(raws, attempt)
        if isinstance(value, AckThrough):
            return self._partial(value.offset, raws, attempt)
        return DONE if value is None or value is Result.ACK else Outcome(Kind.DONE, result=value)

    def _untransactional(self, value: Any, raws: Sequence[Any], attempt: int) -> Outcome:
        error = HandlerResultError(
            f"{self.handler.name} returned {value!r} with transactional=True: its transaction cannot wait",
            topic=raws[0].topic(),
            partition=raws[0].partition(),
            offset=raws[0].offset(),
            hint="return nothing, or leave transactional out",
        )
        return self.failed(error, attempt, raws[0])

    def _continued(self, raws: Sequence[Any], attempt: int) -> Outcome:
        """Nothing may be committed before a later message is acknowledged: that needs one order for all of them."""
        ordering = self.handler.declared.ordering
        if ordering == "partition":
            return CONTINUED
        error = HandlerResultError(
            f"{self.handler.name} returned CONTINUE with ordering={ordering!r}: no message of it comes after another",
            topic=raws[0].topic(),
            partition=raws[0].partition(),
            offset=raws[0].offset(),
            hint='use ordering="partition", or DEFER and ctx.ack()',
        )
        return self.failed(error, attempt, raws[0])

    def _partial(self, offset: int, raws: Sequence[Any], attempt: int) -> Outcome:
        offsets = [raw.offset() for raw in raws]
        if not offsets[0] <= offset <= offsets[-1]:
            error = HandlerResultError(
                f"{self.handler.name} returned ack_through({offset}) for offsets {offsets[0]} to {offsets[-1]}",
                topic=raws[0].topic(),
                partition=raws[0].partition(),
                offset=offset,
                hint="acknowledge an offset of this batch",
            )
            return self.failed(error, attempt, raws[0])
        done = sum(1 for one in offsets if one <= offset)
        return DONE if done == len(raws) else Outcome(Kind.PARTIAL, done=done)


def _next(outcome: Outcome) -> str:
    if outcome.kind is Kind.RETRY:
        return f"again in {outcome.delay:.1f} s"
    if outcome.kind is Kind.MOVED:
        return f"again in {outcome.delay:.1f} s, by a delay topic"
    return "its partition halts" if outcome.kind is Kind.HALTED else "dead letter"


class Router:
    """Finds the Invoker of a message in one partition: always the same one, or by the task's name."""

    def __init__(self, binding: Binding, make: Callable[[Handler[Any, Any]], Invoker]) -> None:
        self.is_shared = binding.handler is None
        self._binding = binding
        self._make = make
        self._made: dict[str, Invoker] = {}
        self.only = make(binding.handler) if binding.handler is not None else None

    def invoker(self, raw: Any) -> Invoker | None:
        """None for a message that names no task, or one that nobody declared."""
        if self.only is not None:
            return self.only
        task = self._binding.task_of(raw)
        if task is None:
            return None
        found = self._made.get(task.name)
        if found is None:
            found = self._made[task.name] = self._make(task)
        return found


def unknown(raw: Any, binding: Binding) -> Outcome:
    """The outcome of a message that no task here wants."""
    name = header_names.text(raw.headers(), header_names.TASK)
    text = f"no header {header_names.TASK}" if name is None else f"no task is named {name!r}"
    return Outcome(Kind.DEAD, reason="unknown", error=DecodeError(f"{text}; here are {sorted(binding.tasks)}"))


def poison(raw: Any, handler: Handler[Any, Any]) -> Outcome:
    """The outcome of a message that is not run any more, because its worker process has died of it."""
    error = PoisonMessage(
        f"the worker process has died {MOST_DEATHS} times while {handler.name} handled this message",
        topic=raw.topic(),
        partition=raw.partition(),
        offset=raw.offset(),
        hint="look for os._exit, faults in C code and the memory that it takes",
    )
    log.error(
        "a message has killed its worker process too often and is given up",
        extra={
            "event": "poison_message",
            "group": handler.group,
            "handler": handler.name,
            "topic": raw.topic(),
            "partition": raw.partition(),
            "offset": raw.offset(),
        },
    )
    return Outcome(_EXHAUSTED[handler.declared.on_exhausted], reason="poison", error=error, attempt=MOST_DEATHS)


def drive(main: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in this thread that never suspends; raises RuntimeError when it does."""
    try:
        main.send(None)
    except StopIteration:
        return
    main.close()
    raise RuntimeError("something that runs in a thread has awaited: an async `setup` of a sync handler?")


async def call_step(step: Callable[[], Any]) -> None:
    """Call a class handler's `setup` or `teardown`, whichever kind it is."""
    outcome = step()
    if inspect.isawaitable(outcome):
        await outcome


async def run(worker: PartitionWorker, turn: Turn) -> None:
    """Run the messages of a turn, one after the other."""
    done, durations = turn.done.append, turn.durations.append
    only, kept, to_message = worker.router.only, worker.kept, worker.to_message
    attempts, comes_back = kept.attempts, kept.before is not None
    forgets, holds = worker.seen is None and not worker.is_transactional, worker.is_transactional
    activate, is_traced = _ACTIVE.set, turn.observer.span is not None
    turn.since = previous = _counter()
    for raw in turn.messages():
        invoker = only
        if invoker is None:
            invoker = turn.invoker(raw)
            is_traced = turn.observer.span is not None
        attempt = kept.made(raw) + 1 if attempts or comes_back else 1
        context = Context(worker, (raw,), to_message, attempt)
        if holds:
            context.held = Held()
        activate(context)
        outcome: Outcome
        if invoker is None:
            turn.pass_over(raw, context, unknown(raw, worker.binding))
            continue
        if (invoker.expires is not None or raw.headers()) and (late := invoker.expired(raw, attempt)) is not None:
            turn.pass_over(raw, context, late)
            continue
        try:
            if not is_traced:
                value = invoker.call(raw, context)
                if invoker.is_async:
                    value = await value
                if value is None and context.sends is None and forgets:
                    done(raw.offset())
                    turn.since = now = _counter()
                    durations(now - previous)
                    previous = now
                    continue
                outcome = invoker.interpret(value, (raw,), attempt)
            else:
                outcome = await _spanned(invoker, raw, context, attempt)
        except asyncio.CancelledError as error:
            # Only a revoke or a stop cancels this task; a handler that cancels itself has failed.
            outcome = ABANDONED if worker.closed else _cancelled(invoker, error, attempt, raw)
        except Exception as error:  # border: whatever user code raises is the message's outcome, never ours
            outcome = invoker.failed(error, attempt, raw)
        except BaseException as error:  # SystemExit, MemoryError: no failure of the message
            outcome = Outcome(Kind.CRASHED, error=error, attempt=attempt)
        turn.since = now = _counter()
        turn.took(now - previous, outcome)
        previous = now
        worker.conclude(turn, raw, context, outcome)
    activate(None)


def _cancelled(invoker: Invoker, error: BaseException, attempt: int, raw: Any) -> Outcome:
    failure = RuntimeError(f"{invoker.handler.name} was cancelled from inside")
    failure.__cause__ = error
    return invoker.failed(failure, attempt, raw)


async def _spanned(invoker: Invoker, raw: Any, context: Context, attempt: int) -> Outcome:
    assert invoker.observer.span is not None
    with invoker.observer.span(context.messages, attempt) as span:
        try:
            value = invoker.call(raw, context)
            outcome = invoker.interpret(await value if invoker.is_async else value, (raw,), attempt)
        except Exception as error:  # border, as in run: the span learns the outcome, too
            outcome = invoker.failed(error, attempt, raw)
        return traced.told(span, outcome, context)
