"""The spans that are off by default: `poll` and `commit` of groups, `create` of the messages of one send of many.

They show the framework at work rather than the user's code; `trace_spans` switches them on one by one.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from elsa.observe import attributes
from elsa.observe.context import extract, span_context
from elsa.observer import GroupObserver

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from opentelemetry import trace

    from elsa.message import TopicPartition

#: the spans of the messages of a send of many, while that is under way
_creates: ContextVar[list[trace.SpanContext] | None] = ContextVar("elsa_creates", default=None)


def creates() -> list[trace.SpanContext] | None:
    """Where the spans of messages are collected that are created one by one and sent together; None elsewhere."""
    return _creates.get()


@contextlib.contextmanager
def sending_many(tracer: trace.Tracer, common: Mapping[str, Any], topic: str) -> Iterator[None]:
    """The span of a send of many messages, with a link to the `create` of each; made at its end, when all are known."""
    began = time.time_ns()
    made: list[trace.SpanContext] = []
    token = _creates.set(made)
    failure: BaseException | None = None
    try:
        yield
    except BaseException as error:
        failure = error
        raise
    finally:
        _creates.reset(token)
        given = {
            **common,
            **attributes.operation("send"),
            "messaging.destination.name": topic,
            "messaging.batch.message_count": len(made),
        }
        span = tracer.start_span(
            f"send {topic}", kind=SpanKind.CLIENT, attributes=given, links=[Link(one) for one in made], start_time=began
        )
        if failure is not None:
            attributes.fail(span, failure)
        span.end()


def group_observer(
    tracer: trace.Tracer, common: Mapping[str, Any], spans: Collection[str], group: str | None
) -> GroupObserver:
    """The observer of a group with the spans that are wanted."""
    named = dict(common) if group is None else {**common, "messaging.consumer.group.name": group}
    observer = GroupObserver()
    if "poll" in spans:
        observer.fetched = _Polls(tracer, named)  # type: ignore[method-assign]  # only what is wanted is implemented
    if "commit" in spans:
        observer.committed = _Commits(tracer, named)  # type: ignore[method-assign]  # as above
    return observer


class _Polls:
    """A span for each topic of a poll, after it."""

    def __init__(self, tracer: trace.Tracer, common: Mapping[str, Any]) -> None:
        self._tracer = tracer
        self._common = {**common, **attributes.operation("poll", "receive")}

    def __call__(self, messages: Sequence[Any], seconds: float) -> None:
        end = time.time_ns()
        by_topic: dict[str, list[Any]] = defaultdict(list)
        for raw in messages:
            if raw.error() is None:
                by_topic[raw.topic()].append(raw)
        for topic, raws in by_topic.items():
            sources = [span_context(extract(tuple(raw.headers() or ()))) for raw in raws]
            self._tracer.start_span(
                f"poll {topic}",
                Context(),
                SpanKind.CLIENT,
                attributes={
                    **self._common,
                    "messaging.destination.name": topic,
                    "messaging.batch.message_count": len(raws),
                },
                links=[Link(one) for one in sources if one.is_valid],
                start_time=end - int(seconds * 1e9),
            ).end(end)


class _Commits:
    """A span for each topic of a commit, after it."""

    def __init__(self, tracer: trace.Tracer, common: Mapping[str, Any]) -> None:
        self._tracer = tracer
        self._common = {**common, **attributes.operation("commit", "settle")}

    def __call__(self, outcome: str, seconds: float, offsets: Mapping[TopicPartition, int]) -> None:
        end = time.time_ns()
        by_topic: dict[str, dict[int, int]] = defaultdict(dict)
        for (topic, partition), offset in offsets.items():
            by_topic[topic][partition] = offset
        for topic, places in by_topic.items():
            given: dict[str, Any] = {**self._common, "messaging.destination.name": topic}
            if len(places) == 1:
                ((partition, offset),) = places.items()
                given |= {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset}
            span = self._tracer.start_span(
                f"commit {topic}", kind=SpanKind.CLIENT, attributes=given, start_time=end - int(seconds * 1e9)
            )
            if outcome != "ok":
                span.set_attribute("error.type", outcome)
                span.set_status(Status(StatusCode.ERROR))
            span.end(end)
