"""Draws finished spans as trees of text, so that a test shows what a person would see in a tracing tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.integration.engine.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import pytest


class Recorded:
    """A provider of one test's own, and the spans that it was given."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        patch.setattr(trace, "get_tracer_provider", lambda: self.provider)

    @property
    def spans(self) -> Sequence[Any]:
        """All that have ended, by their beginning."""
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time)

    def named(self, name: str) -> list[Any]:
        return [span for span in self.spans if span.name == name]

    def tree(self, count: int, topics: Mapping[str, str], said: Sequence[str] = ()) -> str:
        """All spans, once there are so many; with the short names of topics, and the attributes in `said`."""
        until(lambda: len(self.spans) >= count, f"{count} spans have ended, of {[span.name for span in self.spans]}")
        return draw(self.spans, topics, said)

    def program(self) -> Callable[[str], Any]:
        """`with program()("checkout"):` is a span of the program that sends."""
        return self.provider.get_tracer("a program").start_as_current_span


def draw(spans: Sequence[Any], topics: Mapping[str, str], said: Sequence[str] = ()) -> str:
    """A line for each span, below its parent: name, what it came to, links and events."""
    by_id = {span.context.span_id: span for span in spans}
    lines: list[str] = []

    def short(text: str) -> str:
        for topic in sorted(topics, key=len, reverse=True):
            text = text.replace(topic, topics[topic])
        return text

    def line(span: Any) -> str:
        given = span.attributes
        facts = []
        if "elsa.attempt" in given:
            facts.append(f"attempt {given['elsa.attempt']}: {given.get('elsa.outcome', 'not told')}")
        if "elsa.reason" in given:
            facts.append(given["elsa.reason"])
        facts += [f"{name.rpartition('.')[2]}={short(str(given[name]))}" for name in said if name in given]
        if span.status.status_code is trace.StatusCode.ERROR:
            facts.append(f"error {given['error.type']}")
        facts += [event.name for event in span.events if event.name != "exception"]
        # the parent of a message is linked to as well: that goes without saying
        parent = span.parent.span_id if span.parent else 0
        for link in span.links:
            if link.context.span_id != parent:
                other = by_id.get(link.context.span_id)
                facts.append(f"-> {'a span of others' if other is None else short(other.name)}")
        return short(span.name) + (f" ({', '.join(facts)})" if facts else "")

    def below(parent: int, depth: int) -> None:
        for span in spans:
            above = span.parent.span_id if span.parent and span.parent.span_id in by_id else 0
            if above == parent:
                lines.append("  " * depth + line(span))
                below(span.context.span_id, depth + 1)

    below(0, 0)
    return "\n".join(lines)
