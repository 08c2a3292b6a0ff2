"""What the harness remembers of a run, and the partition worker that tells it; made by the harness."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from elsa import headers as names
from elsa.errors import DecodeError, Signal
from elsa.message import Message
from elsa.outcome import CONFIRMED, DONE, Kind, Outcome
from elsa.worker.conclusion import Conclusion
from elsa.worker.deferrals import Deferrals
from elsa.worker.delivery import Invoker
from elsa.worker.partition import PartitionWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from elsa.context import Context
    from elsa.handlers import Handler
    from elsa.observer import LastingSpan
    from elsa.worker.executors import Executor
    from elsa.worker.settlement import Settlement
    from elsa.worker.turns import Turn


@dataclass(frozen=True, slots=True)
class Handled:
    """What one delivery of one message came to.

    `outcome` is the label of the metrics: "ok", "retried", "dead", "skipped", "deferred", "continued" or "failed"
    (the handler ended its process). `attempt` begins at 1, `error` is what the handler raised, `reason` why
    the message is dead or skipped, `delay` the seconds until the next attempt, `result` what the handler returned.
    When a batch fails as a whole, its first member stands for it.
    """

    handler: str
    message: Message
    outcome: str
    attempt: int = 1
    error: BaseException | None = None
    reason: str = ""
    delay: float = 0.0
    result: Any = None


class SentMessage(Message):
    """A message on one of the harness's topics; `json()` decodes its value."""

    __slots__ = ()

    def json(self) -> Any:
        """The value as JSON; None for a tombstone. Raises DecodeError when it is something else."""
        if self.value is None:
            return None
        try:
            return msgspec.json.decode(self.value)
        except msgspec.DecodeError as error:
            raise DecodeError(f"{self.topic}[{self.partition}] offset {self.offset} is no JSON: {error}") from error

    def text(self, header: str) -> str | None:
        """The last header of that name as text."""
        return names.text(self.headers, header)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that was given up, with its headers decoded.

    `reason` is exhausted, rejected, decode, unknown, timeout or expired; `message` the copy as it lies on the
    dead-letter topic, `origin` the source's `topic:partition:offset`.
    """

    message: SentMessage
    handler: str
    reason: str
    attempt: int
    origin: str
    error_type: str | None
    error_message: str | None
    traceback: str | None

    @classmethod
    def of(cls, message: SentMessage) -> DeadLetter | None:
        """A message read as dead letter; None for any other."""
        origin, reason = message.text(names.ORIGIN), message.text(names.REASON)
        if origin is None or reason is None:
            return None
        return cls(
            message,
            message.text(names.HANDLER) or "",
            reason,
            int(message.text(names.ATTEMPT) or 1),
            origin,
            message.text(names.ERROR_TYPE),
            message.text(names.ERROR_MESSAGE),
            message.text(names.TRACEBACK),
        )

    @property
    def source(self) -> str:
        """The topic it came from."""
        return self.origin.rsplit(":", 2)[0]


class Journal:
    """What has happened since the harness began, and the errors that its caller has not seen yet."""

    def __init__(self) -> None:
        self.handled: list[Handled] = []
        self.results: list[Any] = []
        self.errors: list[BaseException] = []
        self._seen: list[BaseException] = []

    def failed(self, error: BaseException) -> None:
        """Note an error once; signals are what a handler wants, so they are none."""
        if isinstance(error, Signal) or any(error is one for one in self._seen):
            return
        self._seen.append(error)
        self.errors.append(error)

    def raise_interrupts(self) -> None:
        """Raise what is no error of a handler (KeyboardInterrupt, pytest's skip and fail), whatever else there is."""
        for error in self.errors:
            if not isinstance(error, (Exception, SystemExit)):
                self.take_errors()
                raise error

    def take_errors(self) -> list[BaseException]:
        """The errors since the last call. An error that is raised again later counts again."""
        errors, self.errors, self._seen = self.errors, [], []
        return errors


class RecordingInvoker(Invoker):
    """Notes each error and each result on their way through."""

    journal: Journal
    decided: Outcome
    #: what the running calls returned, by offset
    values: dict[int, Any]

    def failed(self, error: BaseException, attempt: int, raw: Any) -> Outcome:
        self.decided = super().failed(error, attempt, raw)
        self.journal.failed(error)
        return self.decided

    def interpret(self, value: Any, raws: Sequence[Any], attempt: int) -> Outcome:
        outcome = super().interpret(value, raws, attempt)
        if outcome.kind is Kind.DONE:
            self.values.update((raw.offset(), outcome.result) for raw in raws)
            if self.handler.declared.batch is not None:
                self.journal.results.append(outcome.result)
        return outcome


class _Done(deque[int]):
    """The finished offsets of one turn: each is noted as it comes."""

    def __init__(self, worker: RecordingWorker, turn: Turn) -> None:
        super().__init__()
        self._worker = worker
        self._turn = turn

    def append(self, offset: int) -> None:
        super().append(offset)
        raw = next(raw for raw in self._turn.running() if raw.offset() == offset)
        self._worker.ended_well(raw)


class RecordingConclusion(Conclusion):
    """Notes a call that has sent something when its sends are confirmed or refused."""

    _worker: RecordingWorker

    def __init__(self, worker: RecordingWorker, settlement: Settlement) -> None:
        super().__init__(worker, settlement)
        #: calls that have ended, and are what they are when their sends are confirmed
        self._sending: dict[int, Handled] = {}

    def await_sends(self, raw: Any, context: Context, outcome: Outcome) -> None:
        self._sending[raw.offset()] = self._worker.handled(raw, outcome)
        super().await_sends(raw, context, outcome)

    def _end_settling(self, raw: Any, news: Any) -> None:
        handled = self._sending.pop(raw.offset(), None)
        if handled is not None:
            self._worker.journal.handled.append(handled)
        super()._end_settling(raw, news)

    def _send_failed(self, raw: Any, error: BaseException, attempt: int, span: LastingSpan | None = None) -> None:
        self._sending.pop(raw.offset(), None)
        super()._send_failed(raw, error, attempt, span)
        invoker = self._worker.router.invoker(raw)
        assert isinstance(invoker, RecordingInvoker)
        self._worker.note(raw, invoker.decided)

    def produced(self, turn: Turn, raws: Sequence[Any], context: Context, outcome: Outcome) -> None:
        worker = self._worker
        for raw in raws if outcome.kind is Kind.DONE else ():
            worker.note(raw, Outcome(Kind.DONE, result=worker._values.pop(raw.offset(), None)))
        super().produced(turn, raws, context, outcome)


class RecordingDeferrals(Deferrals):
    """Notes what is acknowledged at last."""

    _worker: RecordingWorker

    def _finish(self, found: Sequence[tuple[Any, Context]]) -> None:
        for raw, context in found:
            if context.sends is None:
                self._worker.note(raw, DONE)
        super()._finish(found)


class RecordingWorker(PartitionWorker):
    """A partition worker that tells the journal what each message came to; the decisions are not its own."""

    def __init__(self, *args: Any, journal: Journal, **fields: Any) -> None:
        self.journal = journal
        self._values: dict[int, Any] = {}
        super().__init__(*args, **fields)

    def _make_invoker(self, handler: Handler[Any, Any]) -> Invoker:
        invoker = RecordingInvoker(handler, self._lifecycle.instance, self.observer_of(handler.name), self.clock)
        invoker.journal = self.journal
        invoker.values = self._values
        return invoker

    def _make_deferrals(self) -> Deferrals:
        return RecordingDeferrals(self)

    def _make_conclusion(self, settlement: Settlement) -> Conclusion:
        return RecordingConclusion(self, settlement)

    def begin(self, executor: Executor) -> Turn | None:
        turn = super().begin(executor)
        if turn is not None:
            turn.done = _Done(self, turn)
        return turn

    def ended_well(self, raw: Any) -> None:
        """A call has ended and sent nothing."""
        value = self._values.pop(raw.offset(), None)
        self.note(raw, Outcome(Kind.DONE, result=value))
        if self.batch is None:
            self.journal.results.append(value)

    def conclude(self, turn: Turn, raw: Any, context: Context, outcome: Outcome) -> None:
        is_tracked = context.sends is not None or (self.seen is not None and outcome.kind is Kind.DONE)
        if is_tracked and outcome.kind in CONFIRMED:
            value = self._values.pop(raw.offset(), None)
            if self.batch is None and outcome.kind is Kind.DONE:
                self.journal.results.append(value)
        elif outcome.kind is not Kind.DONE:
            self.note(raw, outcome)
        super().conclude(turn, raw, context, outcome)

    def handled(self, raw: Any, outcome: Outcome) -> Handled:
        """What the journal keeps of one delivery."""
        return Handled(
            self.binding.name_for(raw),
            self.to_message(raw),
            outcome.kind.value,
            self.kept.made(raw) + 1,
            outcome.error,
            outcome.reason,
            outcome.delay,
            outcome.result,
        )

    def note(self, raw: Any, outcome: Outcome) -> None:
        """Tell the journal what a delivery came to."""
        self.journal.handled.append(self.handled(raw, outcome))
        if outcome.error is not None:
            self.journal.failed(outcome.error)

    def crashed(self, error: BaseException, turn: Turn | None = None) -> None:
        self.journal.failed(error)
        super().crashed(error, turn)
