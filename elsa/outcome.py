"""What a handler may return (ACK, DEFER, CONTINUE, ack_through) and what a delivery came to (Outcome)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from contextvars import Context as Surroundings

    from elsa.observer import LastingSpan


class Result(Enum):
    """The named results of a handler."""

    ACK = "ack"
    DEFER = "defer"
    CONTINUE = "continue"

    def __repr__(self) -> str:
        return f"elsa.{self.name}"


#: done (the same as returning None)
ACK = Result.ACK
#: not yet: `ctx.ack()` will finish it, from any thread
DEFER = Result.DEFER
#: go on, commit nothing until a later message is finished
CONTINUE = Result.CONTINUE


@dataclass(frozen=True, slots=True)
class AckThrough:
    """All messages of the batch up to and including `offset` are done, the others come again."""

    offset: int


def ack_through(offset: int) -> AckThrough:
    """Finish a batch up to `offset` only; the rest goes back to the front of its lane.

    ```python
    @elsa.handler("events", batch=100)
    def store(events: list[dict], ctx: elsa.Context):
        return elsa.ack_through(ctx.messages[0].offset)
    ```
    """
    return AckThrough(offset)


class Kind(Enum):
    """What one delivery came to; the value is the `outcome` label of the metrics."""

    DONE = "ok"
    #: tried again here, where it waits in its lane
    RETRY = "retried"
    #: tried again later: it goes to a delay topic, and others pass it
    MOVED = "moved"
    DEAD = "dead"
    #: given up, and nothing may pass it: its partition waits for an operator
    HALTED = "halted"
    SKIPPED = "skipped"
    DEFERRED = "deferred"
    CONTINUED = "continued"
    #: some of a batch is done, the rest goes back
    PARTIAL = "partial"
    #: the executor, not the handler, failed: the partition worker starts anew
    CRASHED = "failed"
    #: revoked or stopped while it ran
    ABANDONED = "abandoned"


#: outcomes after which the offset moves on, so that what the call has sent must be confirmed before
CONFIRMED = (Kind.DONE, Kind.SKIPPED, Kind.CONTINUED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision about one call; policies return it, settlement carries it out."""

    kind: Kind
    #: seconds until the next attempt (RETRY, MOVED)
    delay: float = 0.0
    #: exhausted, decode, unknown, rejected, timeout, or the reason the handler gave
    reason: str = ""
    error: BaseException | None = None
    #: which attempt this was, 1 is the first
    attempt: int = 1
    #: how many messages of a batch, from its start, are done (PARTIAL; also RETRY after a BatchError)
    done: int = 0
    #: whether the member of a batch at index `done` was named as the one that failed
    is_blamed: bool = False
    #: the handler's value, for middleware and observers
    result: Any = None
    #: where the call ran, if it was traced: copies of its message are sent from there
    scope: Surroundings | None = None
    #: the trace of the span that the call ran in (32 hex digits), if that is recorded and sampled
    trace: str | None = None
    #: that span, while it waits for what the call has sent
    span: LastingSpan | None = None

    @property
    def is_fine(self) -> bool:
        """Whether the call did what its handler wanted: what it has sent counts."""
        return self.kind is Kind.DONE or (self.kind is Kind.SKIPPED and self.error is None)


DONE = Outcome(Kind.DONE)
REPEATED = Outcome(Kind.SKIPPED, reason="handled before")
DEFERRED = Outcome(Kind.DEFERRED)
CONTINUED = Outcome(Kind.CONTINUED)
ABANDONED = Outcome(Kind.ABANDONED)
