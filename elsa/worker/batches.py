"""Runs a batch handler on messages of one partition: one call, then an outcome for each member."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING, Any

from elsa.context import _ACTIVE, Context, Held
from elsa.errors import BatchError, DecodeError
from elsa.outcome import ABANDONED, CONFIRMED, DONE, Kind, Outcome
from elsa.worker import traced
from elsa.worker.repeats import is_repeated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from elsa.worker.delivery import Invoker
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.turns import BatchTurn

_counter = time.perf_counter


class Batch:
    """One call of a batch handler: the members that could be decoded, and the turn that is told their outcomes."""

    def __init__(self, worker: PartitionWorker, turn: BatchTurn) -> None:
        assert worker.router.only is not None
        self.invoker: Invoker = worker.router.only
        self.raws: list[Any]
        self.bodies: list[Any] = []
        self._worker = worker
        self._turn = turn
        self.raws = [raw for raw in turn.raws if worker.seen is None or not is_repeated(worker, turn, raw)]
        # all members have failed equally often, or only the first one counts
        self.attempt = worker.kept.made((self.raws or turn.raws)[0]) + 1
        self.context = self._make_context()
        self.begin = _counter()

    def _make_context(self) -> Context:
        worker = self._worker
        context = Context(worker, tuple(self.raws), worker.to_message, self.attempt)
        if worker.is_transactional:
            context.held = Held()
        return context

    def let_expire(self) -> None:
        """Members that are too old are not run; the others are a batch without them."""
        late = {
            index: outcome
            for index, raw in enumerate(self.raws)
            if (self.invoker.expires is not None or raw.headers())
            and (outcome := self.invoker.expired(raw, self.attempt)) is not None
        }
        self._leave_out(late)

    def decode(self) -> None:
        """Make the bodies; whoever cannot be decoded is dropped."""
        worker, decode = self._worker, self.invoker.handler.decode
        broken: dict[int, BaseException] = {}
        for index, raw in enumerate(self.raws):
            try:
                self.bodies.append(worker.to_message(raw) if decode is None else decode(raw.value()))
            except DecodeError as error:
                broken[index] = error
        self.drop(broken)

    def drop(self, broken: Mapping[int, BaseException]) -> None:
        """Members that cannot be decoded die alone; the others are a batch without them."""
        self._leave_out({index: self.invoker.failed(error, 1, self.raws[index]) for index, error in broken.items()})

    def _leave_out(self, alone: Mapping[int, Outcome]) -> None:
        if not alone:
            return
        worker, raws = self._worker, self.raws
        for index, outcome in alone.items():
            context = Context(worker, (raws[index],), worker.to_message, 1)
            self._turn.pass_over(raws[index], context, outcome)
        self.raws = [raw for index, raw in enumerate(raws) if index not in alone]
        self.context = self._make_context()

    def call(self) -> Any:
        _ACTIVE.set(self.context)
        return self.invoker.run((self.bodies,) if self.invoker.handler.shape.has_body else (), {}, self.context)

    def failed(self, error: BaseException) -> Outcome:
        """The outcome when the call raised; a BatchError has finished what came before its index.

        In a transaction it has not: what the call has sent for that is dropped with the rest.
        """
        if isinstance(error, BatchError) and not self._worker.is_transactional:
            done = min(max(error.index, 0), len(self.raws) - 1)
            outcome = self.invoker.failed(error.error or error, self.attempt, self.raws[done])
            return dataclasses.replace(outcome, done=done, is_blamed=True)
        outcome = self.invoker.failed(error, self.attempt, self.raws[0])
        if outcome.kind not in (Kind.RETRY, Kind.MOVED, Kind.CRASHED) and len(self.raws) > 1:
            # Given up, and nobody said which member is to blame: each runs once more, alone.
            with self._worker.lock:
                self._worker.kept.run_alone(self.raws, self.attempt - 1)
            return Outcome(Kind.PARTIAL, done=0)
        return outcome

    def conclude(self, outcome: Outcome) -> None:
        """Give each member its outcome."""
        _ACTIVE.set(None)
        self._turn.took(_counter() - self.begin, outcome)
        self.invoker.observer.batched(len(self.raws))
        raws, done = self.raws, outcome.done
        if outcome.kind is Kind.DEFERRED or (outcome.kind in CONFIRMED and outcome.kind is not Kind.SKIPPED):
            self._finish(raws, outcome)
            return
        if outcome.kind is Kind.SKIPPED and not outcome.is_blamed:
            self._finish(raws, outcome)
            return
        self._finish(raws[:done], DONE)
        left = raws[done:]
        if outcome.kind is Kind.PARTIAL:
            if self.context.held is not None:
                # of a call that has finished nothing
                self.context.held.drop()
            self._come_again(left)
        elif not outcome.is_blamed and (
            outcome.kind is Kind.MOVED or (outcome.kind is Kind.RETRY and self._worker.ordering != "partition")
        ):
            # the batch has failed as a whole: all of it waits, or its other members would run at once without a pause
            self._finish(left, outcome)
        else:
            # the others come again at once; with one lane they wait behind the one that failed
            self._come_again(left[1:])
            self._finish(left[:1], outcome)

    def _come_again(self, raws: Sequence[Any]) -> None:
        self._turn.back.update((raw.offset(), None) for raw in raws)

    def _finish(self, raws: Sequence[Any], outcome: Outcome) -> None:
        if self._worker.is_transactional and outcome.is_fine:
            if raws:
                self._worker.conclusion.produced(self._turn, raws, self.context, outcome)
            return
        for raw in raws:
            self._worker.conclude(self._turn, raw, self.context, outcome)


async def run(worker: PartitionWorker, turn: BatchTurn) -> None:
    """One call of a batch handler; on the event loop, or driven by a thread as `delivery.run` is."""
    batch = Batch(worker, turn)
    batch.let_expire()
    batch.decode()
    if not batch.raws:
        return
    span = batch.invoker.observer.span
    try:
        if span is None:
            outcome = await _called(batch)
        else:
            with span(batch.context.messages, batch.attempt) as scope:
                try:
                    outcome = await _called(batch)
                except Exception as error:  # border, as below: the span learns the outcome, too
                    outcome = batch.failed(error)
                outcome = traced.told(scope, outcome, batch.context)
    except asyncio.CancelledError as error:
        outcome = ABANDONED if worker.closed else batch.failed(RuntimeError(f"cancelled from inside: {error}"))
    except Exception as error:  # border: whatever user code raises is the batch's outcome, never ours
        outcome = batch.failed(error)
    except BaseException as error:  # SystemExit, MemoryError: no failure of the messages
        outcome = Outcome(Kind.CRASHED, error=error, attempt=batch.attempt)
    batch.conclude(outcome)


async def _called(batch: Batch) -> Outcome:
    value = batch.call()
    if batch.invoker.is_async:
        value = await value
    return batch.invoker.interpret(value, batch.raws, batch.attempt)
