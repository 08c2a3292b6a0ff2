"""Trace contexts in and out of Kafka headers, in the form that OTEL_PROPAGATORS asks for; called by the spans.

The trace header is replaced, never added to, and of several the last one counts.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from opentelemetry import baggage as otel_baggage
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from elsa import headers as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from elsa.message import Headers

_W3C = TraceContextTextMapPropagator()


class _HeaderSetter(Setter[names.Pairs]):
    """Replaces older equal keys: a second `traceparent` would be somebody else's."""

    def set(self, carrier: names.Pairs, key: str, value: str) -> None:
        carrier[:] = [pair for pair in carrier if pair[0] != key]
        carrier.append((key, value.encode()))


class _HeaderGetter(Getter["Headers"]):
    """Reads the last header of a name; null and undecodable ones are as good as absent."""

    def get(self, carrier: Headers, key: str) -> list[str] | None:
        for name, value in reversed(carrier):
            if name == key and value is not None:
                try:
                    return [value.decode()]
                except UnicodeDecodeError:
                    continue
        return None

    def keys(self, carrier: Headers) -> list[str]:
        return [name for name, _ in carrier]


_SETTER = _HeaderSetter()
_GETTER = _HeaderGetter()


def inject(
    headers: Mapping[str, Any] | Iterable[tuple[str, Any]], context: Context | None = None, baggage: Sequence[str] = ()
) -> names.Pairs:
    """`headers` with the trace context (of now, unless given), as a new list.

    Of the baggage only the keys in `baggage` are written.
    """
    pairs: names.Pairs = list(headers.items() if hasattr(headers, "items") else headers)
    source = otel_context.get_current() if context is None else context
    propagate.inject(pairs, context=_listed(source, baggage), setter=_SETTER)
    return pairs


def extract(headers: Headers, baggage: Sequence[str] = ()) -> Context:
    """The trace context in a message's headers; of its baggage only the keys in `baggage`."""
    return _listed(propagate.extract(headers, context=Context(), getter=_GETTER), baggage)


def header(headers: Headers, name: str) -> str | None:
    """The last readable header of a name."""
    found = _GETTER.get(headers, name)
    return None if found is None else found[0]


def span_context(context: Context) -> trace.SpanContext:
    """The span that is current in a context; not valid when there is none."""
    return trace.get_current_span(context).get_span_context()


def written(span: trace.SpanContext) -> bytes:
    """A span's place as W3C writes it."""
    return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}".encode()


def origin(headers: Headers) -> trace.SpanContext:
    """Where the trace of a message began that is a copy by now; not valid when nothing says so."""
    found = header(headers, names.ORIGIN_TRACEPARENT)
    if found is None:
        return trace.INVALID_SPAN_CONTEXT
    return span_context(_W3C.extract({"traceparent": found}, Context()))


def carried() -> Headers:
    """The current trace and all of its baggage, for another process of the same worker."""
    return tuple(inject((), baggage=tuple(otel_baggage.get_all())))


@contextlib.contextmanager
def carrying(headers: Headers) -> Iterator[None]:
    """Make what `carried` has given the current trace."""
    token = otel_context.attach(propagate.extract(headers, context=Context(), getter=_GETTER))
    try:
        yield
    finally:
        otel_context.detach(token)


def _listed(context: Context, keys: Sequence[str]) -> Context:
    """Baggage crosses trust borders with Kafka, so only what is listed may pass."""
    found = otel_baggage.get_all(context)
    if not found.keys() - set(keys):
        return context
    kept = otel_baggage.clear(context)
    for key in keys:
        if key in found:
            kept = otel_baggage.set_baggage(key, found[key], context=kept)
    return kept
