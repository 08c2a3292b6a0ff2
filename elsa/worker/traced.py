"""Tells the span of a call what it came to, and keeps its surroundings for what follows; called where handlers run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from elsa.context import detached
from elsa.observe import tracing
from elsa.observer import LastingSpan
from elsa.outcome import CONFIRMED, Kind

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from elsa.context import Context
    from elsa.observer import HandlerObserver, Span
    from elsa.outcome import Outcome

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
    if context is not None and context.sends is not None and outcome.kind in CONFIRMED:
        kept = span if isinstance(span, LastingSpan) else None
    scope = detached() if kept is not None or outcome.kind in _COPIED else None
    trace = tracing.sampled()
    if scope is None and trace is None:
        return outcome
    if kept is not None:
        kept.keep()
    return dataclasses.replace(outcome, scope=scope, trace=trace, span=kept)


def unrun(observer: HandlerObserver, context: Context, outcome: Outcome) -> Outcome:
    """The same for a message whose handler is not called: its span says why."""
    if observer.span is None:
        return outcome
    with observer.span(context.messages, context.attempt) as span:
        return told(span, outcome)


def lasting(
    outcome: Outcome, settled: Callable[[Any], None], failed: Callable[[Any, BaseException, int, LastingSpan], None]
) -> tuple[Callable[[Any], None], Callable[[Any, BaseException, int], None]]:
    """The two ends of a call whose span waits for what it has sent: each ends the span, `failed` runs inside of it."""
    span, scope = outcome.span, outcome.scope
    assert span is not None
    assert scope is not None

    def fine(raw: Any) -> None:
        span.end()
        settled(raw)

    def refused(raw: Any, error: BaseException, attempt: int) -> None:
        try:
            scope.run(failed, raw, error, attempt, span)
        finally:
            span.end()

    return fine, refused
