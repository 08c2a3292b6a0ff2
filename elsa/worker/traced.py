"""Tells the span of a call what it came to, and keeps its surroundings for what follows; called where handlers run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, TypeVar

from elsa.context import detached
from elsa.observe import tracing
from elsa.observer import LastingSpan
from elsa.outcome import CONFIRMED, Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from elsa.context import Context
    from elsa.observer import HandlerObserver, Span
    from elsa.outcome import Outcome

T = TypeVar("T")

#: what may send a copy of the message
_COPIED = (Kind.RETRY, Kind.MOVED, Kind.DEAD)


def told(span: Span, outcome: Outcome, context: Context | None = None) -> Outcome:
    """Tell a span that is still current; the outcome that knows its trace, whose copies are sent as its children.

    Where the call has sent something that must be confirmed (by its `context`), the span waits for that.
    """
    span.outcome(outcome.kind.value, outcome.error)
    comes_again = outcome.kind in (Kind.RETRY, Kind.MOVED)
    tracing.note(outcome.reason, outcome.delay if comes_again else None)
    kept = None
    if context is not None and _has_sent(context, outcome):
        kept = span if isinstance(span, LastingSpan) else None
    scope = detached() if kept is not None or outcome.kind in _COPIED else None
    trace = tracing.sampled()
    if scope is None and trace is None:
        return outcome
    if kept is not None:
        kept.keep()
    return dataclasses.replace(outcome, scope=scope, trace=trace, span=kept)


def _has_sent(context: Context, outcome: Outcome) -> bool:
    """Whether something that the call has sent is still to be confirmed, or to be committed."""
    if context.held is not None:
        return outcome.is_fine and context.held.has_sends
    return context.sends is not None and outcome.kind in CONFIRMED


def unrun(observer: HandlerObserver, context: Context, outcome: Outcome) -> Outcome:
    """The same for a message whose handler is not called: its span says why."""
    if observer.span is None:
        return outcome
    with observer.span(context.messages, context.attempt) as span:
        return told(span, outcome)


def over(calls: Iterable[Outcome]) -> None:
    """End the spans of calls: what they have sent is committed, or nobody will ever read it."""
    for call in calls:
        if call.span is not None:
            call.span.end()


def inside(call: Outcome, decide: Callable[[LastingSpan | None], T]) -> T:
    """Decide what comes of a call that has failed after all, inside of its span, which ends with that."""
    if call.scope is None:
        return decide(None)
    try:
        return call.scope.run(decide, call.span)
    finally:
        over([call])


def lasting(
    outcome: Outcome,
    settled: Callable[[Any], None],
    failed: Callable[[Any, BaseException, int, LastingSpan | None], None],
) -> tuple[Callable[[Any], None], Callable[[Any, BaseException, int], None]]:
    """The two ends of a call whose span waits for what it has sent: each ends the span, `failed` runs inside of it."""

    def fine(raw: Any) -> None:
        over([outcome])
        settled(raw)

    def refused(raw: Any, error: BaseException, attempt: int) -> None:
        inside(outcome, lambda span: failed(raw, error, attempt, span))

    return fine, refused
