"""Tells the span of a call what it came to, and keeps its surroundings for what follows; called where handlers run."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from elsa.context import detached
from elsa.observe import tracing
from elsa.outcome import Kind

if TYPE_CHECKING:
    from elsa.context import Context
    from elsa.observer import HandlerObserver, Span
    from elsa.outcome import Outcome

#: what may send a copy of the message
_COPIED = (Kind.RETRY, Kind.MOVED, Kind.DEAD)


def told(span: Span, outcome: Outcome) -> Outcome:
    """Tell a span that is still current; the outcome that knows its trace, whose copies are sent as its children."""
    span.outcome(outcome.kind.value, outcome.error)
    comes_again = outcome.kind in (Kind.RETRY, Kind.MOVED)
    tracing.note(outcome.reason, outcome.delay if comes_again else None)
    scope, trace = detached() if outcome.kind in _COPIED else None, tracing.sampled()
    if scope is None and trace is None:
        return outcome
    return dataclasses.replace(outcome, scope=scope, trace=trace)


def unrun(observer: HandlerObserver, context: Context, outcome: Outcome) -> Outcome:
    """The same for a message whose handler is not called: its span says why."""
    if observer.span is None:
        return outcome
    with observer.span(context.messages, context.attempt) as span:
        return told(span, outcome)
