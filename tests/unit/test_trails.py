"""Spans of sends that go together: none is left open, whatever becomes of the transaction."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from elsa.message import RecordMetadata
from elsa.trails import Trails


def tracer(ended: list[Any]) -> Any:
    def trace_send(topic: str, headers: Any) -> Any:
        return [*headers, ("traceparent", b"1")], lambda *facts: ended.append((topic, *facts))

    return trace_send


def raw(partition: int, offset: int) -> Any:
    return SimpleNamespace(partition=lambda: partition, offset=lambda: offset)


def test_each_span_ends_with_the_transaction_and_says_where_its_message_lies() -> None:
    ended: list[Any] = []
    trails = Trails(tracer(ended))

    headers, delivered = trails.begin("orders", [("a", b"1")])
    trails.begin("invoices", [])
    assert delivered is not None
    delivered(raw(3, 7))
    assert ended == []
    trails.end()
    trails.end()

    assert headers == [("a", b"1"), ("traceparent", b"1")]
    assert ended == [("orders", RecordMetadata("orders", 3, 7), None), ("invoices", None, None)]


def test_what_was_given_up_lies_nowhere() -> None:
    ended: list[Any] = []
    trails, error = Trails(tracer(ended)), ValueError()

    _, delivered = trails.begin("orders", [])
    assert delivered is not None
    delivered(raw(3, 7))
    trails.end(error)

    assert ended == [("orders", None, error)]


def test_nobody_traces() -> None:
    trails, headers = Trails(None), [("a", b"1")]

    assert trails.begin("orders", headers) == (headers, None)  # type: ignore[arg-type]  # of that shape
    trails.end()
