"""Runs a handler on messages: decode, middleware, call, and what it came to; called by the partition worker.

The loops are the hot path: nothing here looks up a metric, writes a log line or asks for a trace unless
somebody listens. A slice's facts come back as one SliceResult.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from elsa import headers as header_names
from elsa import middleware as onion
from elsa.context import _ACTIVE, Context
from elsa.errors import DecodeError, HandlerResultError, HandlerTimeout, Signal
from elsa.outcome import ABANDONED, CONTINUED, DEFERRED, DONE, AckThrough, Kind, Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from elsa.clock import Clock
    from elsa.handlers import Handler
    from elsa.message import Message
    from elsa.observer import HandlerObserver
    from elsa.registry import Binding

#: a slice of messages ends after this many seconds, so that results are known (and committed) early
SLICE_SECONDS = 0.02

#: outcomes after which the offset moves on, so that what the call has sent must be confirmed before
CONFIRMED = (Kind.DONE, Kind.SKIPPED, Kind.CONTINUED)

log = logging.getLogger("elsa.worker")

_counter = time.perf_counter


class Site(Protocol):
    """What the delivery needs of the partition worker whose messages it runs."""

    closed: bool
    held: bool
    attempts: dict[int, int]
    progress: Sequence[float]

    def to_message(self, raw: Any) -> Message: ...


@dataclass(slots=True)
class SliceResult:
    """What became of the messages of one slice."""

    #: offsets that are finished
    done: list[int] = field(default_factory=list)
    #: every other message that was run, with its outcome
    others: list[tuple[Any, Outcome]] = field(default_factory=list)
    #: answered with DEFER
    deferred: list[tuple[Any, Context]] = field(default_factory=list)
    #: messages whose sends are still to be confirmed before the outcome holds
    sending: list[tuple[Any, Context, Outcome]] = field(default_factory=list)
    #: not run: back to the front of the lane
    rest: Sequence[Any] = ()
    durations: list[float] = field(default_factory=list)


class Invoker:
    """One handler made ready to be called in one partition: decoder, function, middleware, policy."""

    def __init__(self, handler: Handler[Any, Any], instance: Any, observer: HandlerObserver, clock: Clock) -> None:
        self.handler = handler
        self.observer = observer
        self.is_async = handler.is_async
        self.retry = handler.declared.retry
        self.timeout = handler.declared.timeout
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
        kind, milliseconds = raw.timestamp()
        age = self._clock.now() - milliseconds / 1000 if kind else None
        try:
            outcome = self.retry.decide(error, attempt, age)
        except Exception as broken:  # the user's `when=` raised: its bug must not lose the message
            outcome = Outcome(Kind.DEAD, reason="exhausted", error=broken, attempt=attempt)
        if outcome.kind is Kind.DEAD and outcome.reason == "exhausted" and isinstance(error, HandlerTimeout):
            outcome = Outcome(Kind.DEAD, reason="timeout", error=error, attempt=attempt)
        if outcome.kind is Kind.DEAD and outcome.reason == "exhausted" and self._skips:
            return Outcome(Kind.SKIPPED, reason="exhausted", error=error, attempt=attempt)
        if outcome.kind is not Kind.SKIPPED:
            self.observer.exception(error, attempt)
            self._tell(error, outcome, raw)
        return outcome

    def _tell(self, error: BaseException, outcome: Outcome, raw: Any) -> None:
        """Log what failed and what happens next; equal lines pass once a minute (`limit`), however many fail."""
        is_asked_for = isinstance(error, Signal)
        log.log(
            logging.INFO if is_asked_for else logging.WARNING,
            "a handler refused its message" if is_asked_for else "a handler failed",
            exc_info=None if is_asked_for else error,
            extra={
                "event": "handler_failed",
                "limit": (self.handler.name, type(error), outcome.kind),
                "handler": self.handler.name,
                "topic": raw.topic(),
                "partition": raw.partition(),
                "offset": raw.offset(),
                "attempt": outcome.attempt,
                "next": f"again in {outcome.delay:.1f} s" if outcome.kind is Kind.RETRY else "dead letter",
                "error": str(error),
            },
        )

    @property
    def _skips(self) -> bool:
        return self.handler.declared.on_exhausted == "skip"

    def interpret(self, value: Any, raws: Sequence[Any], attempt: int) -> Outcome:
        """What a handler's result means for its message or batch."""
        if value is Result.DEFER:
            return DEFERRED
        if value is Result.CONTINUE:
            return CONTINUED
        if isinstance(value, AckThrough):
            return self._partial(value.offset, raws, attempt)
        return DONE if value is None or value is Result.ACK else Outcome(Kind.DONE, result=value)

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
        name = header_names.text(raw.headers(), header_names.TASK) or ""
        found = self._made.get(name)
        if found is None and name in self._binding.tasks:
            found = self._made[name] = self._make(self._binding.tasks[name])
        return found


def unknown(raw: Any, binding: Binding) -> Outcome:
    """The outcome of a message that no task here wants."""
    name = header_names.text(raw.headers(), header_names.TASK)
    text = f"no header {header_names.TASK}" if name is None else f"no task is named {name!r}"
    return Outcome(Kind.DEAD, reason="unknown", error=DecodeError(f"{text}; here are {sorted(binding.tasks)}"))


def run_threads(site: Any, raws: Sequence[Any]) -> SliceResult:
    """Run a slice of messages one after the other in this thread."""
    result = SliceResult()
    site.progress = result.durations
    done, durations = result.done.append, result.durations.append
    only, attempts, to_message = site.router.only, site.attempts, site.to_message
    activate = _ACTIVE.set
    begin = previous = _counter()
    for index, raw in enumerate(raws):
        if site.closed or site.held or previous - begin > SLICE_SECONDS:
            result.rest = raws[index:]
            break
        invoker = only or site.router.invoker(raw)
        attempt = attempts.get(raw.offset(), 0) + 1 if attempts else 1
        context = Context(site, (raw,), to_message, attempt)
        activate(context)
        outcome: Outcome
        try:
            if invoker is None:
                outcome = unknown(raw, site.binding)
            elif invoker.observer.span is None:
                value = invoker.call(raw, context)
                if value is None and context.sends is None:
                    done(raw.offset())
                    now = _counter()
                    durations(now - previous)
                    previous = now
                    continue
                outcome = invoker.interpret(value, (raw,), attempt)
            else:
                outcome = _spanned(invoker, raw, context, attempt)
        except Exception as error:  # border: whatever user code raises is the message's outcome, never ours
            outcome = invoker.failed(error, attempt, raw)
        except BaseException as error:  # SystemExit, MemoryError: no failure of the message
            outcome = Outcome(Kind.CRASHED, error=error, attempt=attempt)
        now = _counter()
        durations(now - previous)
        previous = now
        if _conclude(result, raw, context, outcome):
            result.rest = raws[index + 1 :]
            break
    activate(None)
    return result


def _spanned(invoker: Invoker, raw: Any, context: Context, attempt: int) -> Outcome:
    assert invoker.observer.span is not None
    with invoker.observer.span(context.messages, attempt) as span:
        try:
            outcome = invoker.interpret(invoker.call(raw, context), (raw,), attempt)
        except Exception as error:  # border, as in run_threads: the span learns the outcome, too
            outcome = invoker.failed(error, attempt, raw)
        span.outcome(outcome.kind.value, outcome.error)
    return outcome


async def run_loop(site: Any, raws: Sequence[Any]) -> SliceResult:
    """Run a slice of messages one after the other on the event loop."""
    result = SliceResult()
    site.progress = result.durations
    done, durations = result.done.append, result.durations.append
    only, attempts, to_message = site.router.only, site.attempts, site.to_message
    activate = _ACTIVE.set
    begin = previous = _counter()
    for index, raw in enumerate(raws):
        if site.closed or site.held or previous - begin > SLICE_SECONDS:
            result.rest = raws[index:]
            break
        invoker = only or site.router.invoker(raw)
        attempt = attempts.get(raw.offset(), 0) + 1 if attempts else 1
        context = Context(site, (raw,), to_message, attempt)
        activate(context)
        outcome: Outcome
        try:
            if invoker is None:
                outcome = unknown(raw, site.binding)
            elif invoker.observer.span is None:
                value = await invoker.call(raw, context)
                if value is None and context.sends is None:
                    done(raw.offset())
                    now = _counter()
                    durations(now - previous)
                    previous = now
                    continue
                outcome = invoker.interpret(value, (raw,), attempt)
            else:
                outcome = await _spanned_async(invoker, raw, context, attempt)
        except asyncio.CancelledError as error:
            # Only a revoke or a stop cancels this task; a handler that cancels itself has failed.
            outcome = ABANDONED if site.closed else _cancelled(invoker, error, attempt, raw)
        except Exception as error:  # border: whatever user code raises is the message's outcome, never ours
            outcome = invoker.failed(error, attempt, raw)
        except BaseException as error:  # SystemExit, MemoryError: no failure of the message
            outcome = Outcome(Kind.CRASHED, error=error, attempt=attempt)
        now = _counter()
        durations(now - previous)
        previous = now
        if _conclude(result, raw, context, outcome):
            result.rest = raws[index + 1 :]
            break
    activate(None)
    return result


def _cancelled(invoker: Invoker | None, error: BaseException, attempt: int, raw: Any) -> Outcome:
    assert invoker is not None
    failure = RuntimeError(f"{invoker.handler.name} was cancelled from inside")
    failure.__cause__ = error
    return invoker.failed(failure, attempt, raw)


async def _spanned_async(invoker: Invoker, raw: Any, context: Context, attempt: int) -> Outcome:
    assert invoker.observer.span is not None
    with invoker.observer.span(context.messages, attempt) as span:
        try:
            outcome = invoker.interpret(await invoker.call(raw, context), (raw,), attempt)
        except Exception as error:  # border, as in run_loop: the span learns the outcome, too
            outcome = invoker.failed(error, attempt, raw)
        span.outcome(outcome.kind.value, outcome.error)
    return outcome


def _conclude(result: SliceResult, raw: Any, context: Context, outcome: Outcome) -> bool:
    """Note an outcome; whether the slice ends here, because the message goes back to the front of its lane."""
    if outcome.kind is Kind.DEFERRED:
        result.deferred.append((raw, context))
    elif context.sends is not None and outcome.kind in CONFIRMED:
        result.sending.append((raw, context, outcome))
    elif outcome.kind is Kind.DONE:
        result.done.append(raw.offset())
    else:
        result.others.append((raw, outcome))
        return outcome.kind in (Kind.RETRY, Kind.CRASHED, Kind.ABANDONED)
    return False
