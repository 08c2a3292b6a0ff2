"""OpenTelemetry spans of sends and handler calls, named by the semantic conventions for messaging 1.44.

`tracing_observer` makes the TracingObserver. A send span lasts until the delivery report; a process span
runs where the handler runs and takes its parent from the message's headers.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Literal, Self

from opentelemetry import baggage as otel_baggage
from opentelemetry import context as otel_context
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter, Setter
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from elsa import __version__
from elsa.errors import RetryLater, Skip
from elsa.observer import HandlerObserver, Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from elsa.message import Headers, Message, RecordMetadata

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
#: characters of an exception's text kept as a span's status
MAX_DESCRIPTION = 512

Pairs = list[tuple[str, bytes | None]]


class _HeaderSetter(Setter[Pairs]):
    """Replaces older equal keys: a second `traceparent` would be somebody else's."""

    def set(self, carrier: Pairs, key: str, value: str) -> None:
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
) -> Headers:
    """`headers` with the trace context (of now, unless given) in the form that `OTEL_PROPAGATORS` asks for.

    The argument is not changed. Of the baggage only the keys in `baggage` are written.
    """
    pairs: Pairs = list(headers.items() if hasattr(headers, "items") else headers)
    source = otel_context.get_current() if context is None else context
    propagate.inject(pairs, context=_listed(source, baggage), setter=_SETTER)
    return tuple(pairs)


def extract(headers: Headers, baggage: Sequence[str] = ()) -> Context:
    """The trace context in a message's headers; of its baggage only the keys in `baggage`."""
    return _listed(propagate.extract(headers, context=Context(), getter=_GETTER), baggage)


def _listed(context: Context, keys: Sequence[str]) -> Context:
    """Baggage crosses trust borders with Kafka, so only what is listed may pass."""
    carried = otel_baggage.get_all(context)
    if not carried.keys() - set(keys):
        return context
    kept = otel_baggage.clear(context)
    for key in keys:
        if key in carried:
            kept = otel_baggage.set_baggage(key, carried[key], context=kept)
    return kept


class TracingObserver(Observer):
    """Makes a span of every send and of every handler call; made by `tracing_observer`."""

    def __init__(
        self,
        *,
        brokers: str = "",
        client_id: str = "",
        baggage: Sequence[str] = (),
        parent: Literal["message", "link"] = "message",
    ) -> None:
        provider = trace.get_tracer_provider()
        self._tracer = provider.get_tracer("elsa", __version__, schema_url=SCHEMA)
        self._baggage = tuple(baggage)
        self._is_child = parent == "message"
        self._skips_unsampled = self._is_child and _drops_unsampled(provider)
        self._common: dict[str, Any] = {"messaging.system": "kafka", **_server(brokers)}
        if client_id:
            self._common["messaging.client.id"] = client_id
        self.trace_send = self._trace_send

    def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
        """An observer that only makes process spans."""
        observer = HandlerObserver()
        attributes = {
            **self._common,
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "elsa.handler": handler,
        }
        if group is not None:
            attributes["messaging.consumer.group.name"] = group
        if topic.startswith("^"):
            attributes["messaging.destination.template"] = topic

        def span(messages: Sequence[Message], attempt: int) -> _ProcessSpan:
            return self._process(attributes, messages, attempt)

        observer.span = span
        return observer

    def _process(self, base: Mapping[str, Any], messages: Sequence[Message], attempt: int) -> _ProcessSpan:
        first = messages[0]
        attributes = {
            **base,
            "messaging.destination.name": first.topic,
            "messaging.destination.partition.id": str(first.partition),
            "elsa.attempt": attempt,
        }
        if len(messages) > 1:
            attributes["messaging.batch.message_count"] = len(messages)
            links = [
                Link(source, _of_message(message))
                for message in messages
                if (source := _span_context(extract(message.headers))).is_valid
            ]
            context = Context()
        else:
            context = extract(first.headers, self._baggage)
            source = _span_context(context)
            if self._skips_unsampled and source.is_valid and not source.trace_flags.sampled:
                return _ProcessSpan(trace.NonRecordingSpan(source), context)
            attributes |= _of_message(first)
            links = [Link(source)] if source.is_valid else []
            if not self._is_child:
                context = trace.set_span_in_context(trace.INVALID_SPAN, context)
        span = self._tracer.start_span(
            f"process {first.topic}", context, SpanKind.CONSUMER, attributes=attributes, links=links
        )
        return _ProcessSpan(span, trace.set_span_in_context(span, context))

    def _trace_send(
        self, topic: str, headers: Mapping[str, Any] | Iterable[tuple[str, Any]]
    ) -> tuple[Pairs, Callable[[RecordMetadata | None, BaseException | None], None]]:
        span = self._tracer.start_span(
            f"send {topic}",
            kind=SpanKind.PRODUCER,
            attributes={
                **self._common,
                "messaging.operation.name": "send",
                "messaging.operation.type": "send",
                "messaging.destination.name": topic,
            },
        )
        # a list, because confluent-kafka takes no tuple
        carried = list(inject(headers, trace.set_span_in_context(span), self._baggage))

        def end(metadata: RecordMetadata | None, error: BaseException | None) -> None:
            if metadata is not None:
                span.set_attribute("messaging.destination.partition.id", str(metadata.partition))
                span.set_attribute("messaging.kafka.offset", metadata.offset)
            if error is not None:
                _fail(span, error)
            span.end()

        return carried, end


class _ProcessSpan:
    """Current while the handler runs; entered and left in the same thread or task."""

    __slots__ = ("_context", "_is_told", "_span", "_token")

    def __init__(self, span: trace.Span, context: Context) -> None:
        self._span = span
        self._context = context
        self._is_told = False
        self._token: Any = None

    def __enter__(self) -> Self:
        self._token = otel_context.attach(self._context)
        return self

    def outcome(self, name: str, error: BaseException | None = None) -> None:
        """Say what the call came to."""
        self._is_told = True
        self._span.set_attribute("elsa.outcome", name)
        if error is None or isinstance(error, Skip):
            return
        if name == "retried":
            self._span.add_event("elsa.retry", {"elsa.delay": error.delay} if isinstance(error, RetryLater) else None)
            if isinstance(error, RetryLater):
                return  # the handler asked for it, nothing went wrong
        _fail(self._span, error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        if error is not None and not self._is_told:
            self.outcome("failed", error)
        self._span.end()


def _of_message(message: Message) -> dict[str, Any]:
    """What differs between the messages of a batch."""
    attributes: dict[str, Any] = {"messaging.kafka.offset": message.offset}
    if message.value is None:
        attributes["messaging.kafka.message.tombstone"] = True
    if identity := _GETTER.get(message.headers, "elsa-id"):
        attributes["messaging.message.id"] = identity[0]
    return attributes


def _span_context(context: Context) -> trace.SpanContext:
    return trace.get_current_span(context).get_span_context()


def _fail(span: trace.Span, error: BaseException) -> None:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    span.set_attribute("error.type", getattr(error, "code", "") or name)
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, str(error)[:MAX_DESCRIPTION]))


def _server(brokers: str) -> dict[str, Any]:
    host, _, port = brokers.partition(",")[0].strip().rpartition("://")[2].rpartition(":")
    if not port.isdigit():
        return {"server.address": f"{host}:{port}" if host else port} if host or port else {}
    return {"server.address": host.strip("[]"), "server.port": int(port)}


def _drops_unsampled(provider: object) -> bool:
    """Whether the sampler never records a child of an unsampled message, so that no span need be made."""
    sampling = sys.modules.get("opentelemetry.sdk.trace.sampling")
    sampler = getattr(provider, "sampler", None)
    if sampling is None or not isinstance(sampler, sampling.ParentBased):
        return False
    # private, hence the default: an SDK without it makes the span and drops it
    return isinstance(getattr(sampler, "_remote_parent_not_sampled", None), sampling.StaticSampler) and (
        sampler._remote_parent_not_sampled is sampling.ALWAYS_OFF
    )
