"""What follows from the outcome of a message: retry, dead letter, confirmation of what its call has sent.

Each partition worker has one. `conclude` is called by executors, the endings by the producer's thread or the
settlement's; the worker's lock guards `unsettled` and the breaker.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from elsa.errors import TooManyDead
from elsa.outcome import CONFIRMED, Kind
from elsa.policies.breaker import WINDOW_SECONDS, Breaker
from elsa.worker import traced
from elsa.worker.mailbox import Finished, Held, Produced
from elsa.worker.repeats import remember
from elsa.worker.turns import BatchTurn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.context import Context
    from elsa.observer import LastingSpan
    from elsa.outcome import Outcome
    from elsa.worker.mishaps import Refusal
    from elsa.worker.partition import PartitionWorker
    from elsa.worker.settlement import Settlement
    from elsa.worker.turns import Turn


class Conclusion:
    """Carries out the outcomes of one partition worker's messages."""

    def __init__(self, worker: PartitionWorker, settlement: Settlement) -> None:
        self._worker = worker
        self._settlement = settlement
        #: copies and sends that are not confirmed yet
        self.unsettled = 0
        # what stops the partition when nearly everything fails; only what fails comes back through a retry topic
        ratio = None if worker.is_retry else worker.binding.first.declared.max_dead_ratio
        self._breaker = None if ratio is None else Breaker(ratio)

    def conclude(self, turn: Turn, raw: Any, context: Context, outcome: Outcome) -> None:
        """Do what the outcome asks for; nothing here waits."""
        worker, kind = self._worker, outcome.kind
        if kind is Kind.RETRY:
            self._retry(turn, raw, outcome)
        elif kind is Kind.DEFERRED:
            worker.deferrals.defer(raw, context)
        elif kind is Kind.CRASHED:
            assert outcome.error is not None
            worker.crashed(outcome.error, turn)
        elif kind is Kind.HALTED:
            worker.halt(raw, outcome, turn)
        elif kind is Kind.ABANDONED:
            turn.is_over = True
        else:
            if kind is Kind.DONE and worker.seen is not None:
                remember(worker, raw, context)
            if context.sends is not None and kind in CONFIRMED:
                self.await_sends(raw, context, outcome)
            else:
                self._finish(raw, outcome)

    def produced(self, turn: Turn, raws: Sequence[Any], context: Context, outcome: Outcome) -> None:
        """A transactional call is over: its offsets and what it has sent go together."""
        assert context.held is not None
        worker, kind = self._worker, outcome.kind.value
        turn.counts[kind] = turn.counts.get(kind, 0) + len(raws)
        offsets = [raw.offset() for raw in raws]
        with worker.lock:
            worker.forget(offsets)
            self.passed(len(offsets))
        worker.post(Produced(worker, offsets, context.held.close(), outcome))

    def final(self, outcome: Outcome) -> Outcome:
        """What would be tried again is given up when nobody would; what would be one dead letter too many, halts."""
        if outcome.kind is Kind.RETRY and self._worker.is_last_chance:
            outcome = dataclasses.replace(outcome, kind=Kind.DEAD, reason="exhausted")
        if outcome.kind is Kind.DEAD and outcome.reason != "expired":
            return self._judge(outcome)
        if outcome.kind is Kind.DONE:
            with self._worker.lock:
                self.passed(1)
        return outcome

    def passed(self, count: int) -> None:
        """So many messages were handled (lock held)."""
        if self._breaker is not None and count:
            self._breaker.passed(count, now=self._worker.clock.monotonic())

    def _judge(self, outcome: Outcome) -> Outcome:
        worker = self._worker
        if self._breaker is None:
            return outcome
        with worker.lock:
            found = self._breaker.dead(now=worker.clock.monotonic())
        if found is None:
            return outcome
        error = TooManyDead(
            f"{found[0]} of {found[1]} messages of {worker.binding.name} within {WINDOW_SECONDS:g} s were to become"
            f" dead letters, the last one by {type(outcome.error).__name__}: {outcome.error}",
            topic=worker.partition.topic,
            partition=worker.partition.partition,
            hint="mend what fails, then: elsa control resume",
        )
        error.__cause__ = outcome.error
        return dataclasses.replace(outcome, kind=Kind.HALTED, error=error)

    def _retry(self, turn: Turn, raw: Any, outcome: Outcome) -> None:
        """A message that was just run is tried again later: its lane waits with it."""
        worker = self._worker
        with worker.lock:
            worker.kept.count(raw, outcome.attempt)
            if worker.closed:
                return
            worker.deferrals.forget([raw.offset()])
            due = worker.clock.monotonic() + outcome.delay
            if isinstance(turn, BatchTurn):
                turn.back[raw.offset()] = due
                return
            turn.stop_lane()
            worker.backlog.lanes.park(raw, due, holds=True)
            worker.backlog.arm(due)

    def _retry_late(self, raw: Any, outcome: Outcome) -> None:
        """A send that a call had made was refused after the call returned: the message comes again."""
        worker = self._worker
        with worker.lock:
            worker.kept.count(raw, outcome.attempt)
            if not worker.closed:
                due = worker.clock.monotonic() + outcome.delay
                worker.backlog.lanes.park(raw, due, holds=False)
                worker.vigil.look(worker.backlog.lanes)
                worker.backlog.arm(due)

    def _finish(self, raw: Any, outcome: Outcome) -> None:
        if outcome.kind is Kind.DEAD:
            self._begin_settling()
            self._settlement.dead_letter(self._worker, raw, outcome, self._given_up)
        elif outcome.kind is Kind.MOVED:
            self._begin_settling()
            self._settlement.move(self._worker, raw, outcome, self._given_up)
        elif outcome.kind is Kind.SKIPPED:
            self._over(raw)
            self._worker.post(Finished(self._worker, [raw.offset()], acknowledges=False))
        elif outcome.kind is Kind.CONTINUED:
            self._over(raw)
            self._worker.post(Held(self._worker, [raw.offset()]))
        else:
            self._over(raw)
            self._worker.post(Finished(self._worker, [raw.offset()]))

    def refused(self, raw: Any, refusal: Refusal) -> bool:
        """What the call of a message has sent was refused to its transaction, so it has failed; whether it runs again.

        It has waited with its partition already, and keeps its place there.
        """
        attempt = max(self._worker.kept.made(raw) + 1, refusal.times)
        return traced.inside(refusal.call, lambda span: self._refused(raw, refusal.error, attempt, span))

    def _refused(self, raw: Any, error: BaseException, attempt: int, span: LastingSpan | None) -> bool:
        outcome = self._failed(raw, error, attempt)
        if span is not None:
            outcome = traced.told(span, outcome)
        if outcome.kind is Kind.RETRY:
            self._worker.kept.count(raw, outcome.attempt)
            return True
        self.give_up(raw, outcome)
        return False

    def _failed(self, raw: Any, error: BaseException, attempt: int) -> Outcome:
        """What the policy makes of a call that has failed after its return."""
        invoker = self._worker.router.invoker(raw)
        assert invoker is not None
        return invoker.failed(error, attempt, raw)

    def give_up(self, raw: Any, outcome: Outcome) -> None:
        """Carry out the outcome of a message outside of a turn: its call has returned, or is not made at all."""
        if outcome.kind is Kind.HALTED:
            self._worker.halt(raw, outcome)
        else:
            self._finish(raw, outcome)

    def _over(self, raw: Any) -> None:
        with self._worker.lock:
            self._worker.forget([raw.offset()])

    # -- confirmations, on the producer's thread ---------------------------------------------------

    def await_sends(self, raw: Any, context: Context, outcome: Outcome) -> None:
        """Finish a message when everything that its call has sent is confirmed; if not, its call has failed."""
        self._begin_settling()
        endings = {Kind.CONTINUED: self._settled_held, Kind.SKIPPED: self._given_up}
        settled = endings.get(outcome.kind, self._settled)
        if outcome.span is None:
            self._settlement.confirm_sends(raw, context, settled, self._send_failed)
        else:
            self._settlement.confirm_sends(raw, context, *traced.lasting(outcome, settled, self._send_failed))

    def _begin_settling(self) -> None:
        with self._worker.lock:
            self.unsettled += 1

    def _settled(self, raw: Any) -> None:
        if self._worker.seen is not None:
            with self._worker.lock:
                self._worker.seen.settle(raw.offset())
        self._end_settling(raw, Finished(self._worker, [raw.offset()]))

    def _given_up(self, raw: Any) -> None:
        """Its copy, or what a call that skips it has sent, is confirmed."""
        self._end_settling(raw, Finished(self._worker, [raw.offset()], acknowledges=False))

    def _settled_held(self, raw: Any) -> None:
        self._end_settling(raw, Held(self._worker, [raw.offset()]))

    def _end_settling(self, raw: Any, news: Finished | Held) -> None:
        # before the worker may report its end
        self._worker.post(news)
        with self._worker.lock:
            self._worker.forget([raw.offset()])
            self._end()

    def give_up_settling(self) -> None:
        """A copy could not be written and the partition is not ours any more: the message comes again."""
        with self._worker.lock:
            self._end()

    def _end(self) -> None:
        self.unsettled -= 1
        self._worker.end_if_idle()

    def _send_failed(self, raw: Any, error: BaseException, attempt: int, span: LastingSpan | None = None) -> None:
        """A send made by a finished call was refused, so the call has failed: decide as if it had raised."""
        outcome = self.final(self._failed(raw, error, attempt))
        if span is not None:
            outcome = traced.told(span, outcome)
        if outcome.kind is Kind.RETRY:
            self._retry_late(raw, outcome)
        elif outcome.kind is Kind.CRASHED:
            assert outcome.error is not None
            self._worker.crashed(outcome.error)
        else:
            self.give_up(raw, outcome)
        self.give_up_settling()
