"""Runs a batch handler on messages of one partition: one call, then an outcome for each member."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Any

from elsa.context import _ACTIVE, Context
from elsa.errors import BatchError, DecodeError
from elsa.outcome import ABANDONED, DONE, Kind, Outcome
from elsa.worker.delivery import CONFIRMED, Invoker, SliceResult

if TYPE_CHECKING:
    from collections.abc import Sequence

_counter = time.perf_counter


class Batch:
    """One call of a batch handler: the members that could be decoded, and the result being filled in."""

    def __init__(self, site: Any, raws: Sequence[Any]) -> None:
        self.result = SliceResult()
        self.raws: list[Any] = []
        self.bodies: list[Any] = []
        self.invoker: Invoker = site.router.only
        self._site = site
        self._decode(site, raws)
        self.attempt = site.attempts.get(self.raws[0].offset(), 0) + 1 if self.raws else 1
        self.context = Context(site, tuple(self.raws), site.to_message, self.attempt)
        self.begin = _counter()

    def _decode(self, site: Any, raws: Sequence[Any]) -> None:
        decode = self.invoker.handler.decode
        for raw in raws:
            try:
                body = site.to_message(raw) if decode is None else decode(raw.value())
            except DecodeError as error:
                # an undecodable member dies alone; the others are a batch without it
                outcome = self.invoker.failed(error, 1, raw)
                self.result.others.append((raw, outcome))
            else:
                self.raws.append(raw)
                self.bodies.append(body)

    def run(self) -> Any:
        _ACTIVE.set(self.context)
        return self.invoker.run((self.bodies,) if self.invoker.handler.shape.has_body else (), {}, self.context)

    def failed(self, error: BaseException) -> Outcome:
        """The outcome when the call raised; a BatchError has finished what came before its index."""
        if isinstance(error, BatchError):
            done = min(max(error.index, 0), len(self.raws) - 1)
            outcome = self.invoker.failed(error.error or error, self.attempt, self.raws[done])
            return dataclasses.replace(outcome, done=done)
        outcome = self.invoker.failed(error, self.attempt, self.raws[0])
        if outcome.kind not in (Kind.RETRY, Kind.CRASHED) and len(self.raws) > 1:
            # Given up, and nobody said which member is to blame: each runs once more, alone.
            self._site.run_singly([raw.offset() for raw in self.raws], self.attempt - 1)
            return Outcome(Kind.PARTIAL, done=0)
        return outcome

    def conclude(self, outcome: Outcome) -> SliceResult:
        """Give each member its outcome."""
        _ACTIVE.set(None)
        result = self.result
        result.durations.append(_counter() - self.begin)
        raws = self.raws
        if outcome.kind is Kind.DEFERRED:
            result.deferred += [(raw, self.context) for raw in raws]
        elif outcome.kind is Kind.SKIPPED:
            # one member is given up; what comes behind it has not been done yet
            self._finish(raws[: outcome.done], DONE)
            self._finish(raws[outcome.done : outcome.done + 1], outcome)
            result.rest = raws[outcome.done + 1 :]
        elif outcome.kind in CONFIRMED:
            self._finish(raws, outcome)
        elif outcome.kind is Kind.PARTIAL:
            self._finish(raws[: outcome.done], DONE)
            result.rest = raws[outcome.done :]
        else:
            self._finish(raws[: outcome.done], DONE)
            result.others.append((raws[outcome.done], outcome))
            result.rest = raws[outcome.done + 1 :]
        return result

    def _finish(self, raws: Sequence[Any], outcome: Outcome) -> None:
        if self.context.sends is not None:
            self.result.sending += [(raw, self.context, outcome) for raw in raws]
        elif outcome.kind is Kind.DONE:
            self.result.done += [raw.offset() for raw in raws]
        else:
            self.result.others += [(raw, outcome) for raw in raws]


def run_batch(site: Any, raws: Sequence[Any]) -> SliceResult:
    """One call of a sync batch handler in this thread."""
    batch = Batch(site, raws)
    if not batch.raws:
        return batch.result
    span = batch.invoker.observer.span
    try:
        if span is None:
            outcome = batch.invoker.interpret(batch.run(), batch.raws, batch.attempt)
        else:
            with span(batch.context.messages, batch.attempt) as scope:
                try:
                    outcome = batch.invoker.interpret(batch.run(), batch.raws, batch.attempt)
                except Exception as error:  # border, as below: the span learns the outcome, too
                    outcome = batch.failed(error)
                scope.outcome(outcome.kind.value, outcome.error)
    except Exception as error:  # border: whatever user code raises is the batch's outcome, never ours
        outcome = batch.failed(error)
    except BaseException as error:  # SystemExit, MemoryError: no failure of the messages
        outcome = Outcome(Kind.CRASHED, error=error, attempt=batch.attempt)
    return batch.conclude(outcome)


async def run_batch_async(site: Any, raws: Sequence[Any]) -> SliceResult:
    """One call of an async batch handler on the event loop."""
    batch = Batch(site, raws)
    if not batch.raws:
        return batch.result
    span = batch.invoker.observer.span
    try:
        if span is None:
            outcome = batch.invoker.interpret(await batch.run(), batch.raws, batch.attempt)
        else:
            with span(batch.context.messages, batch.attempt) as scope:
                try:
                    outcome = batch.invoker.interpret(await batch.run(), batch.raws, batch.attempt)
                except Exception as error:  # border, as below: the span learns the outcome, too
                    outcome = batch.failed(error)
                scope.outcome(outcome.kind.value, outcome.error)
    except asyncio.CancelledError as error:
        outcome = ABANDONED if site.closed else batch.failed(RuntimeError(f"cancelled from inside: {error}"))
    except Exception as error:  # border: whatever user code raises is the batch's outcome, never ours
        outcome = batch.failed(error)
    except BaseException as error:  # SystemExit, MemoryError: no failure of the messages
        outcome = Outcome(Kind.CRASHED, error=error, attempt=batch.attempt)
    return batch.conclude(outcome)
