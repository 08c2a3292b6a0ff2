"""OpenTelemetry spans of sends and handler calls, named by the semantic conventions for messaging 1.44.

`elsa.observe.tracing` makes the TracingObserver. A send span lasts until the delivery report; a process span
runs where the handler runs and takes its parent from the message's headers.
"""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING, Any, Literal, Self

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind

from elsa import __version__
from elsa import headers as names
from elsa.clock import SYSTEM
from elsa.errors import RetryLater, Skip
from elsa.kafka import identity
from elsa.observe import attributes, rounds
from elsa.observe.context import extract, header, inject, span_context, written
from elsa.observer import GroupObserver, HandlerObserver, Observer
from elsa.policies import delay

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from types import TracebackType

    from elsa.message import Message, RecordMetadata

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
#: a message that waits longer than that begins a trace of its own, or the first one would never be complete
LINK_SECONDS = 3600.0


class TracingObserver(Observer):
    """Makes a span of every send and of every handler call.

    `brokers` is the setting of that name (its first host becomes `server.address`). `baggage` lists the keys that may
    cross Kafka. With `parent="link"` a process span begins a trace of its own that links to the message's; a batch
    always does. `spans` are the optional ones (poll, commit, create), `attributes` those of messages (key, body_size).
    `functions` gives the function of a handler by its name.
    """

    def __init__(
        self,
        *,
        brokers: str = "",
        client_id: str = "",
        baggage: Sequence[str] = (),
        parent: Literal["message", "link"] = "message",
        spans: Collection[str] = (),
        attributes: Collection[str] = (),
        functions: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._tracer = tracer()
        self._baggage = tuple(baggage)
        self._is_child = parent == "message"
        self._skips_unsampled = self._is_child and _drops_unsampled(trace.get_tracer_provider())
        self._spans = frozenset(spans)
        self._extras = frozenset(attributes)
        self._functions = functions
        self._common = common(brokers, client_id)
        self._brokers = brokers
        self.trace_send = self._trace_send

    # -- handling --------------------------------------------------------------------------------------

    def handler(self, group: str | None, topic: str, handler: str) -> HandlerObserver:
        """An observer that only makes process spans."""
        observer = HandlerObserver()
        base = {**self._common, **attributes.operation("process")}
        if group is not None:
            base["messaging.consumer.group.name"] = group
        if topic.startswith("^"):
            base["messaging.destination.template"] = topic
        base["elsa.handler"] = handler
        if (function := self._functions(handler)) is not None:
            base["code.function.name"] = function
        observer.span = functools.partial(self._process, base)
        return observer

    def group(self, group: str | None) -> GroupObserver:
        """An observer that makes the optional spans of a group; one that hears nothing when there are none."""
        return rounds.group_observer(self._tracer, self._common, self._spans, group)

    def _cluster(self) -> dict[str, Any]:
        """Known once a client has asked for metadata."""
        found = identity.id_of(self._brokers)
        return {} if found is None else {"messaging.kafka.cluster.id": found}

    def _process(self, base: Mapping[str, Any], messages: Sequence[Message], attempt: int) -> _ProcessSpan:
        first = messages[0]
        given = {
            **base,
            **self._cluster(),
            "messaging.destination.name": first.topic,
            "messaging.destination.partition.id": str(first.partition),
            "elsa.attempt": attempt,
        }
        if len(messages) > 1:
            given["messaging.batch.message_count"] = len(messages)
            links = attributes.links_of_batch(messages, self._extras)
            context = Context()
        else:
            context = extract(first.headers, self._baggage)
            source = span_context(context)
            is_child = self._is_child and header(first.headers, names.TRACE) != names.LINK
            if is_child and self._skips_unsampled and source.is_valid and not source.trace_flags.sampled:
                return _ProcessSpan(trace.NonRecordingSpan(source), context)
            given |= attributes.of_message(first, self._extras) | attributes.waited(first, SYSTEM.now())
            links = attributes.links(source, first.headers)
            if not is_child:
                context = trace.set_span_in_context(trace.INVALID_SPAN, context)
        span = self._tracer.start_span(
            f"process {first.topic}", context, SpanKind.CONSUMER, attributes=given, links=links
        )
        return _ProcessSpan(span, trace.set_span_in_context(span, context))

    # -- sending ---------------------------------------------------------------------------------------

    def _trace_send(
        self, topic: str, headers: Mapping[str, Any] | Iterable[tuple[str, Any]]
    ) -> tuple[names.Pairs, Callable[[RecordMetadata | None, BaseException | None], None]]:
        pairs: names.Pairs = list(headers.items() if hasattr(headers, "items") else headers)
        creates = rounds.creates()
        parent = otel_context.get_current()
        links: list[Link] = []
        if pairs:
            parent, links = _parent(pairs, parent)
            pairs = _as_copy(pairs)
        name = "send" if creates is None else "create"
        # what waits in a delay topic goes to its target all the same
        target = delay.target(pairs)
        given = self._of_send(name, target or topic, pairs)
        if target is not None:
            given["elsa.delay_topic"] = topic
        span = self._tracer.start_span(
            f"{name} {target or topic}", parent, SpanKind.PRODUCER, attributes=given, links=links
        )
        carried = inject(pairs, trace.set_span_in_context(span, parent), self._baggage)
        if creates is not None:
            # the span of the send is the one around all of them
            creates.append(span.get_span_context())
            span.end()
            return carried, _no_end

        def end(metadata: RecordMetadata | None, error: BaseException | None) -> None:
            # of the delay topic's offsets nobody hears again
            if metadata is not None and target is None:
                span.set_attribute("messaging.destination.partition.id", str(metadata.partition))
                span.set_attribute("messaging.kafka.offset", metadata.offset)
            if error is not None:
                attributes.fail(span, error)
            span.end()

        return carried, end

    def _of_send(self, name: str, topic: str, pairs: names.Pairs) -> dict[str, Any]:
        found = {**self._common, **self._cluster(), **attributes.operation(name), "messaging.destination.name": topic}
        if (identity := names.text(pairs, names.ID)) is not None:
            found["messaging.message.id"] = identity
        return found


class _ProcessSpan:
    """Current while the handler runs; entered and left in the same thread or task."""

    __slots__ = ("_context", "_is_kept", "_is_over", "_is_told", "_span", "_token")

    def __init__(self, span: trace.Span, context: Context) -> None:
        self._span = span
        self._context = context
        self._is_told = self._is_kept = self._is_over = False
        self._token: Any = None

    def __enter__(self) -> Self:
        self._token = otel_context.attach(self._context)
        return self

    def outcome(self, name: str, error: BaseException | None = None) -> None:
        """Say what the call came to."""
        if self._is_over:
            return
        self._is_told = True
        self._span.set_attribute("elsa.outcome", name)
        # what the handler has asked for has not gone wrong
        is_asked_for = isinstance(error, Skip) or (isinstance(error, RetryLater) and name in ("retried", "moved"))
        if error is not None and not is_asked_for:
            attributes.fail(self._span, error)

    def keep(self) -> None:
        """End by `end`, not when the call is left."""
        self._is_kept = True

    def end(self) -> None:
        """What the call has sent is over."""
        if not self._is_over:
            self._is_over = True
            self._span.end()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        otel_context.detach(self._token)
        if error is not None and not self._is_told:
            self.outcome("failed", error)
        if not self._is_kept:
            self.end()


def _parent(pairs: names.Pairs, here: Context) -> tuple[Context, list[Link]]:
    """The parent of a send with headers: what runs here, else the trace that they come with, unless it is apart."""
    source = span_context(extract(pairs))  # type: ignore[arg-type]  # any sequence of pairs will do
    if not source.is_valid:
        return here, []
    if names.text(pairs, names.TRACE) == names.LINK:
        return here, [Link(source)]
    if span_context(here).is_valid:
        return here, []
    return trace.set_span_in_context(trace.NonRecordingSpan(source), here), []


def _as_copy(pairs: names.Pairs) -> names.Pairs:
    """The headers with what they say of other traces, before this one's is written."""
    found = names.without(pairs, {names.TRACE: None})
    if names.text(found, names.ORIGIN) is not None and names.text(found, names.ORIGIN_TRACEPARENT) is None:
        source = span_context(extract(pairs))  # type: ignore[arg-type]  # as above
        if source.is_valid:
            found.append((names.ORIGIN_TRACEPARENT, written(source)))
    due = delay.due_at(found) if delay.target(found) is not None else None
    if due is not None and due - SYSTEM.now() > LINK_SECONDS:
        found.append((names.TRACE, names.LINK.encode()))
    return found


def _no_end(_metadata: object, _error: object) -> None:
    """It has ended already."""


def tracer() -> trace.Tracer:
    """Elsa's, of the provider that is set."""
    return trace.get_tracer_provider().get_tracer("elsa", __version__, schema_url=SCHEMA)


def common(brokers: str, client_id: str) -> dict[str, Any]:
    """What all spans of an App say."""
    found: dict[str, Any] = {"messaging.system": "kafka", **attributes.server(brokers)}
    if client_id:
        found["messaging.client.id"] = client_id
    return found


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
